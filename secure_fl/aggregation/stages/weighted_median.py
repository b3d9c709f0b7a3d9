"""Combine updates by the weighted median of every coordinate."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import WEIGHTS, Context, Stage, State, stage
from secure_fl.errors import require


@stage
def weighted_median(by: str = "reputation") -> Stage:
    """Return in every coordinate the value at which half the weight is reached.

    Weights are public, as in `weighted_mean`, and are counted in up to 2^8 parts, of which each
    hospital has a whole number within one of its share; without any it does not count. Where half
    is reached between two values, their mean: with equal weights it is the median.

    Range: that of x.  Reveals: nothing.  Cost: a selection of one or two order statistics among as
    many copies as parts: some 4 times a median.
    """
    require(by in WEIGHTS, "by", f"one of {WEIGHTS}", by)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        update = context.ops.weighted_median(context.x, context.weights(by))
        return replace(context, update=update), state

    return Stage(apply, weighs_samples=by == "samples")
