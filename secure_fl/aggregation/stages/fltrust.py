"""Combine updates by how far they point along a public root direction."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.ops import exact_length
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.secret_weights import WEIGHT_UNIT, weighed
from secure_fl.errors import InputError

LONGEST_STRETCH = 2.0**10
"""Updates shorter than this share of the root's length are stretched by no more."""

_SHORTEST_SQUARE = 2.0**-30
_LEAST_TRUST = 2.0**-16


@stage
def fltrust() -> Stage:
    """Return sum_i t_i x_i ||g|| / ||x_i|| / sum_i t_i with t_i = max(0, cos(x_i, g)).

    Cao, Fang, Liu, Gong, FLTrust, NDSS 2021; g is a public root direction, and every update is
    scaled to its length. Weights stay secret: nobody learns who was trusted, and nobody is
    rejected. Where no t_i is positive, or fewer than the minimum that may be combined have real
    weight, the update is 0; where they add up to less than 2^-16 it is shorter.

    Range: squared norms.  Reveals: nothing.  Cost: rows under a mask, m cosines with a public
    direction, m inverse roots and one more, one weighted sum.
    """

    def apply(context: Context, state: State) -> tuple[Context, State]:
        if context.reference is None:
            raise InputError("fltrust needs a reference (float (d,)); got None")
        ops, length = context.ops, exact_length(context.reference)
        trust = ops.maximum(ops.cosine(context.x, context.reference), 0.0)  # (m,)
        shortest = max((length / LONGEST_STRETCH) ** 2, _SHORTEST_SQUARE)
        stretch = ops.inverse_root(ops.squared_norms(context.x), shortest) * length  # (m,)
        total = ops.inverse_root(ops.sum(trust), _LEAST_TRUST)  # 1 / sqrt(sum), (1,)
        # Rounding aside, shares of trust are at most 1; what that bounds is computed finer.
        share = ops.minimum(trust * total * total, 1.0)
        weights = ops.rounded(share * stretch, WEIGHT_UNIT)
        moved = weighed(context, weights, most=LONGEST_STRETCH * (1 + 2.0**-10))
        return replace(context, update=ops.row(moved, 0)), state

    return Stage(apply, uses_reference=True)
