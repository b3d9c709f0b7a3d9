"""From a secret choice of rows to their mean, with or without public verdicts."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.pipeline import Context

VERDICTS = (Opens("accepted"),)


def verdicts_opened(verdicts: bool) -> tuple[Opens, ...]:
    """What a stage declares that opens its choice where `verdicts` is set."""
    return VERDICTS if verdicts else ()


def mean_of_chosen(context: Context, chosen: Secret, count: int, verdicts: bool) -> Context:
    """Make the update the mean of the rows that are chosen.

    Args:
        chosen: bits (m,), of which exactly `count` are set.
        verdicts: open the choice as `accepted`, and reject who is not chosen.
    """
    ops = context.ops
    if verdicts:
        context = context.reject(ops.open("accepted", chosen))
        ones = torch.ones(context.x.shape[0], dtype=torch.float64)
        return replace(context, update=ops.weighted_mean(context.x, ones))
    total = ops.combine(context.x, chosen, rows=count, most=float(count))  # (1, d)
    return replace(context, update=divided(ops, total, count))


def divided(ops: Ops, total: Updates, count: int) -> Secret:
    """Return a sum of rows (1, d) divided by a public count, exactly when it is opened: (d,)."""
    return ops.weighted_mean(total, torch.ones(1, dtype=torch.float64), divisor=count)
