"""Bound every update's norm by the median norm."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def clip_to_median() -> Stage:
    """Scale long updates down to the median length: x_i <- x_i min(1, M / ||x_i||).

    As in FLAME (Nguyen et al., USENIX Security 2022, section 4.3). M^2 is the median of the squared
    norms: of an even number, the mean of the middle two.

    Range: squared norms.  Reveals: nothing.  Cost: n d squares, a median of m numbers, 2 m inverse
    roots, n d products.
    """

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops = context.ops
        bound = ops.median_of(ops.squared_norms(context.x))  # (1,)
        return replace(context, x=ops.clip(context.x, bound)), state

    return Stage(apply)
