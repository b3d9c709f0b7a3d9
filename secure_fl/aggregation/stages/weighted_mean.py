"""Combine updates by a mean with public weights."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import WEIGHTS, Context, Stage, State, stage
from secure_fl.errors import require


@stage
def weighted_mean(by: str = "reputation") -> Stage:
    """Return sum_i w_i x_i / sum_i w_i over the rows still in play.

    Weights are public and known up to a common factor. "uniform": all 1. "reputation": those of
    the chain (paper, section 2.4). "samples": how many rows each hospital trained on (FedAvg;
    McMahan et al., 2017). If all are zero, the mean is unweighted.

    Where reputations differ, the sum is rounded down to a step of 2^-16 before it leaves, so that
    no row can be read out of its low bits.

    Reveals: nothing.  Cost: local; on opening, where reputations differ, an addition of 24 bits.
    """
    require(by in WEIGHTS, "by", f"one of {WEIGHTS}", by)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        update = context.ops.weighted_mean(context.x, context.weights(by))
        return replace(context, update=update), state

    return Stage(apply, linear=True, weighs_samples=by == "samples")
