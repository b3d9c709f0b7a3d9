"""Bound lengths by the median of past ones, reject the smaller cluster, average."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.clusters import majority
from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import Secret
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require

MOST_ROUNDS = 50


@stage
def clipped_clustering(window: int = 5) -> Stage:
    """Clip rows to the median length of the last `window` rounds, this one included; average.

    Only the larger of two clusters is averaged (`clustering`; lengths do not change cosines). Li,
    Ngai, Voigt, IEEE Transactions on Big Data 2023, where the median is over all rounds; by squares
    here. Squared lengths stay secret between rounds.

    Range: as `squared_norms`.
    Reveals: accepted, one bit a hospital.
    Cost: as `clustering`, a median of n times `window` numbers and 2 n inverse roots; n d products.
    """
    require(1 <= window <= MOST_ROUNDS, "window", f"from 1 to {MOST_ROUNDS}", window)

    def apply(context: Context, past: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        known: tuple[Secret, ...] = tuple(replace(squared, ops=ops) for squared in past)
        known = (*known, ops.squared_norms(x))[-window:]
        bound = ops.median_of(ops.concatenate(known))  # (1,)
        flags = ops.open("accepted", majority(ops, x))
        bounded = ops.clip(x, bound)
        update = ops.weighted_mean(bounded, flags.to(torch.float64))
        return replace(context.reject(flags), update=update), known

    return Stage(apply, opens=(Opens("accepted"),), init=tuple)
