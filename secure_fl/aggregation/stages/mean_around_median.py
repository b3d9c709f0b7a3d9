"""Combine updates by the mean of the values nearest to every coordinate's median."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import trim_count
from secure_fl.errors import require


@stage
def mean_around_median(beta: float = 0.2) -> Stage:
    """Drop the floor(beta m) values farthest from every coordinate's median; average the rest.

    Xie, Koyejo, Gupta, Generalized Byzantine-tolerant SGD, 2018. Unlike the trimmed mean it may
    drop all of them on one side. Of values at one distance those below the median stay, then
    those of lower hospital number, so that exactly m - floor(beta m) remain.

    Reveals: nothing.  Cost: a median, n d subtractions, a selection of one order statistic, n d
    products of a bit.
    """
    require(0 <= beta < 0.5, "beta", "in [0, 0.5)", beta)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        rows = context.x.shape[0]
        update = context.ops.mean_of_nearest(context.x, rows - trim_count(beta, rows))
        return replace(context, update=update), state

    return Stage(apply)
