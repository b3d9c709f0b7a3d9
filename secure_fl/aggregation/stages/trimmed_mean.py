"""Combine updates by the mean of every coordinate's middle values."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import trim_count
from secure_fl.errors import require


@stage
def trimmed_mean(beta: float = 0.2) -> Stage:
    """Drop the floor(beta m) largest and smallest values of every coordinate; average the rest.

    Yin et al., ICML 2018; paper, section 2.4. Ties are dropped by hospital number, so that
    exactly m - 2 floor(beta m) values remain.

    Reveals: nothing.  Cost: one selection of two order statistics, n d products of a bit.
    """
    require(0 <= beta < 0.5, "beta", "in [0, 0.5)", beta)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        trim = trim_count(beta, context.x.shape[0])
        update = context.ops.mean_of_middle(context.x, trim)
        return replace(context, update=update), state

    return Stage(apply)
