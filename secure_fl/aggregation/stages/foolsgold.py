"""Weigh hospitals down whose history resembles another's."""

from __future__ import annotations

import math
from dataclasses import replace

from secure_fl.aggregation.gram_ops import largest, shares
from secure_fl.aggregation.history import History
from secure_fl.aggregation.ops import Ops, Secret
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.secret_weights import WEIGHT_UNIT, weighed

_LEAST = 2.0**-10  # similarities and weights below this are divided by as if they were this
_LOW = 1 / (1 + math.exp(0.5))  # where the logit plus 1/2 is 0; at 1 - _LOW it is 1
_SLACK = 1.01


@stage
def foolsgold() -> Stage:
    """Average by weights that fall as a hospital's history resembles another's.

    With h_i all that i sent so far, c_ij = cos(h_i, h_j) and c_ii = 0: v_i = max_j c_ij; where
    v_i < v_j, c_ij is multiplied by v_i / v_j; w_i = 1 - max_j c_ij, divided by the largest of
    them; then ln(w_i / (1 - w_i)) + 1/2, put into [0, 1]. Fung, Yoon, Beschastnikh, RAID 2020,
    algorithm 1, over all parameters alike; it adds up w_i x_i, which here is divided by the sum of
    the weights. Where all histories are one, nobody has weight and the update is zero.

    The logit, which counts between -1/2 and 1/2 alone, is the series of 2 artanh(2 w - 1) to its
    sixth term.

    Range: rows of a bounded length (`clip_norm` before), so that histories fit for some 20,000
    rounds of length 1; without a bound they grow by a bit a round.
    Reveals: nothing. Where fewer hospitals than the minimum have real weight left, the update is
    zero (`secret_weights.weighed`); where there is no minimum, one who has it alone opens its own.
    Cost: n^2 inner products, n + 3 inverse roots, selections among n^2 and n numbers, some 700
    rounds; n d products.
    """

    def apply(context: Context, history: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        following, total = history.plus(ops, context.hospitals, x)
        cosine = ops.pairwise_cosine(total)  # (m, m)
        weights = _logit(ops, _unlike(ops, cosine))  # (m,), in [0, 1]
        part = shares(ops, weights, 1.0, 0.5)
        update = ops.row(weighed(context, ops.rounded(part, WEIGHT_UNIT), most=_SLACK), 0)
        return replace(context, update=update), following

    return Stage(apply, init=History)


def _in_unit_interval(ops: Ops, a: Secret) -> Secret:
    return ops.maximum(ops.minimum(a, 1.0), 0.0)


def _row_maxima(ops: Ops, a: Secret) -> Secret:
    return _in_unit_interval(ops, ops.sum(a * ops.smallest(-a, 1)))


def _inverse(ops: Ops, a: Secret) -> Secret:
    """1 / max(a, 2^-10) of numbers that are not negative."""
    return ops.inverse_root(a * a, _LEAST * _LEAST)


def _unlike(ops: Ops, cosine: Secret) -> Secret:
    """w_i, divided by the largest of them, (m,)."""
    m = cosine.shape[0]
    v = _row_maxima(ops, cosine)
    ratio = ops.expand(v, 1, m) * ops.expand(_inverse(ops, v), 0, m)
    pardoned = cosine * ops.minimum(ratio, 1.0)
    unlike = 1.0 - _row_maxima(ops, pardoned)
    most = _in_unit_interval(ops, ops.sum(unlike * largest(ops, unlike)))  # (1,)
    return unlike * _inverse(ops, most)


def _logit(ops: Ops, w: Secret) -> Secret:
    """ln(w / (1 - w)) + 1/2 within [0, 1]."""
    z = ops.minimum(ops.maximum(w, _LOW), 1 - _LOW) * 2.0 - 1.0  # |z| < 0.245
    square = z * z
    series = square * (1 / 11) + 1 / 9
    for odd in (7, 5, 3, 1):
        series = series * square + 1 / odd
    return _in_unit_interval(ops, z * series * 2.0 + 0.5)
