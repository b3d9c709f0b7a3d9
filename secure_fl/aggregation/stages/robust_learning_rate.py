"""Turn the mean around in every coordinate on whose sign too few updates agree."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import share_count
from secure_fl.errors import require


@stage
def robust_learning_rate(agreement: float = 0.4) -> Stage:
    """Return mean_i(x_ij) where |sum_i sign(x_ij)| >= agreement m, and its negative elsewhere.

    Ozdayi, Kantarcioglu, Gel, Defending against backdoors in federated learning with robust
    learning rate, AAAI 2021. There the threshold is a number of hospitals; a share keeps its
    meaning when some are absent. The sign of 0 is positive here, where the paper has 0.

    Range: that of x.  Reveals: nothing.  Cost: bits of x, then 2 m ANDs and a product of a bit a
    coordinate.
    """
    require(0 < agreement <= 1, "agreement", "in (0, 1]", agreement)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        m = x.shape[0]
        total = ops.weighted_mean(x, torch.ones(m, dtype=torch.float64), divisor=1)  # (d,)
        needed = m - share_count(1 - agreement, m)  # |m - 2 below| must reach it
        below = ops.signs(x)  # (m, d)
        some = ops.count_at_least(below, (m - needed) // 2 + 1)  # too few agree on above
        most = (m + needed + 1) // 2
        apart = some if most > m else some - ops.count_at_least(below, most) * 1.0
        update = ops.divide(total - total * apart * 2.0, m)
        return replace(context, update=update), state

    return Stage(apply)
