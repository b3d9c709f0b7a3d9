"""Rows weighed by secret weights, so that none is opened alone."""

from __future__ import annotations

from secure_fl.aggregation.ops import Secret, Updates
from secure_fl.aggregation.pipeline import Context
from secure_fl.aggregation.weights import REAL_SHARE

WEIGHT_UNIT = 2.0**-24
"""Step of secret weights: what they combine has room for more."""


def weighed(context: Context, weights: Secret, most: float) -> Updates:
    """Return sum_i w_i x_i, (1, d), for secret weights (m,), at least 0.

    A weight that nobody sees could be the only one, and the sum a hospital's update. So weights are
    multiplied by the secret bit of whether at least `context.minimum` of them are real, an eighth
    of the largest or more; with fewer the sum is zero.

    Args:
        weights: in steps of `WEIGHT_UNIT` at the finest.
        most: a public bound on their sum.
    """
    ops = context.ops
    if context.minimum > 1:
        (largest,) = ops.kth_values(weights, [weights.shape[0] - 1])  # (1,)
        real = ops.sum(weights * float(REAL_SHARE) >= largest)  # (1,)
        weights = weights * (real >= float(context.minimum))
    return ops.combine(context.x, weights, rows=max(1, context.minimum), most=most)
