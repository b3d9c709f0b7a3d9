"""Reject updates that are too long."""

from __future__ import annotations

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require


@stage
def norm_screen(max_norm: float = 1.0) -> Stage:
    """Reject hospitals whose update is longer than the bound: ||x_i|| > max_norm.

    Where `clip_norm` takes part of a long update, this takes nothing of it. The squared norm is
    computed without truncation and cannot wrap around the ring: every coordinate lies in the width
    it was shared with, and the rule's range is checked before anything runs.

    Reveals: accepted, one bit a hospital.  Cost: n d squares, n comparisons.
    """
    require(max_norm > 0, "max_norm", "positive", max_norm)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops = context.ops
        squared = ops.squared_norms(context.x)  # (m,)
        accepted = ops.open("accepted", squared * -1.0 >= -max_norm * max_norm)
        return context.reject(accepted), state

    return Stage(apply, opens=(Opens("accepted"),))
