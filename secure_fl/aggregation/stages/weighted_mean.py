"""Combine updates by a mean with public weights."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require

WEIGHTS = ("uniform", "reputation")


@stage
def weighted_mean(by: str = "reputation") -> Stage:
    """Return sum_i R_i x_i / sum_i R_i over the rows still in play (paper, section 2.4).

    Reputations come from the chain and are public. If all are zero, the mean is unweighted.

    Where reputations differ, the sum is rounded down to a step of 2^-16 before it leaves, so that
    no row can be read out of its low bits.

    Reveals: nothing.  Cost: local; on opening, where reputations differ, an addition of 24 bits.
    """
    require(by in WEIGHTS, "by", f"one of {WEIGHTS}", by)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        weights = torch.ones(len(context.hospitals), dtype=torch.float64)
        if by == "reputation":
            chosen = context.reputation[list(context.hospitals)].to(torch.float64)
            # Below half a unit of fixed point every weight would round to zero.
            weights = chosen if float(chosen.max()) > 2**-15 else weights
        update = context.ops.weighted_mean(context.x, weights)
        return replace(context, update=update), state

    return Stage(apply, linear=True)
