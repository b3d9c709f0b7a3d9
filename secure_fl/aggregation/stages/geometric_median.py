"""Combine updates by the point of least total distance to them."""

from __future__ import annotations

import math
from dataclasses import replace

from secure_fl.aggregation.gram_ops import shares
from secure_fl.aggregation.ops import Ops, Secret
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.secret_weights import WEIGHT_UNIT, weighed
from secure_fl.errors import require

STARTS = ("mean", "zero")
MOST_STEPS = 100
_SLACK = 1.01


@stage
def geometric_median(smoothing: float = 0.01, steps: int = 5, start: str = "mean") -> Stage:
    """Approach min_v sum_i ||x_i - v|| by the smoothed Weiszfeld algorithm.

    v <- sum_i b_i x_i / sum_i b_i with b_i = 1 / max(||x_i - v||, smoothing), `steps` times.
    Pillutla, Kakade, Harchaoui, IEEE TSP 2022 (RFA), algorithm 2; it starts from the mean, ByzFL,
    with 3 steps and a smoothing of 0.1, from zero.

    v is a combination of the rows, so that its distances follow from the Gram matrix G and its
    weights a: ||x_i - v||^2 = g_ii - 2 (G a)_i + a' G a. Only the last step touches coordinates.

    Range: as `squared_norms`; squared distances have 36 bits below the largest that max_abs and d
    allow, and the smoothing's square must be one of them at least.
    Reveals: nothing. Where one row lies amid the others, the update is nearly that row; with a
    minimum it is zero where fewer have real weight (`secret_weights.weighed`).
    Cost: n^2 inner products; a step has n^2 products and 2 inverse roots, some 280 rounds; n d
    products.
    """
    require(2.0**-10 <= smoothing <= 2.0**10, "smoothing", "in [2^-10, 2^10]", smoothing)
    require(1 <= steps <= MOST_STEPS, "steps", f"from 1 to {MOST_STEPS}", steps)
    require(start in STARTS, "start", f"one of {STARTS}", start)

    def weights(ops: Ops, squared: Secret) -> Secret:
        """b_i / sum_j b_j, (m,)."""
        near = ops.inverse_root(squared, smoothing * smoothing)
        farthest = max(math.sqrt(squared.span.high), smoothing)
        least = max(squared.shape[0] / farthest / _SLACK, 2.0**-30)
        return shares(ops, near, 1 / smoothing, least)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        m = x.shape[0]
        gram = ops.gram(x)  # (m, m)
        own = ops.diagonal(gram)
        squared = own
        if start == "mean":  # m^2 times the distance, exactly, then a factor that is all rows' own
            total = ops.sum(ops.sum(gram))
            squared = (own * float(m) - ops.sum(gram) * 2.0) * float(m) + total
            squared = squared * (1 / (m * m))
        a = weights(ops, squared)
        for _ in range(steps - 1):
            dots = ops.matmul(gram, a)  # (m,)
            a = weights(ops, own - dots * 2.0 + ops.sum(a * dots))
        update = ops.row(weighed(context, ops.rounded(a, WEIGHT_UNIT), most=_SLACK), 0)
        return replace(context, update=update), state

    return Stage(apply)
