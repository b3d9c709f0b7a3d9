"""Take one step in every coordinate, the way that most updates go."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.openings import UNIT
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require

LARGEST_STEP = 2.0**8


@stage
def sign_majority(step: float = 2.0**-10) -> Stage:
    """Return step * sign(sum_i sign(x_ij)) for every coordinate j: signSGD with majority vote.

    Bernstein, Wang, Azizzadenesheli, Anandkumar, ICML 2018, and Bernstein, Zhao, Azizzadenesheli,
    Anandkumar, ICLR 2019. Of the updates nothing but signs counts, so that fewer than half of them
    decide no coordinate alone. The sign of 0 is positive here, where the papers have 0; a tie
    between the two signs gives 0, as there. The step is rounded to a multiple of 2^-16.

    Range: any.  Reveals: nothing.  Cost: bits of x, then 2 m ANDs a coordinate; no product.
    """
    require(UNIT <= step <= LARGEST_STEP, "step", "in [2^-16, 2^8]", step)
    length = round(step / UNIT) * UNIT

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, m = context.ops, context.x.shape[0]
        below = ops.signs(context.x)  # (m, d)
        half = ops.count_at_least(below, -(-m // 2))  # (d,): no majority above zero
        most = half if m % 2 else ops.count_at_least(below, m // 2 + 1)  # one below it
        update = (1.0 - half - most) * length
        return replace(context, update=replace(update, rows=m)), state

    return Stage(apply)
