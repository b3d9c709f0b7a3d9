"""Bound every update's Euclidean norm."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require


@stage
def clip_norm(max_norm: float = 1.0) -> Stage:
    """Scale long updates down to the bound: x_i <- x_i min(1, max_norm / ||x_i||).

    Enforced, not requested: the norm is computed by the backend. Paper, section 2.1.

    Reveals: nothing.  Cost: n d squares, n inverse roots, n d products.
    """
    require(max_norm > 0, "max_norm", "positive", max_norm)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        x = context.ops.clip(context.x, max_norm * max_norm)  # (m, d)
        return replace(context, x=x), state

    return Stage(apply)
