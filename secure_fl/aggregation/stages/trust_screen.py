"""Screen hospitals by the direction of everything they ever sent."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from secure_fl.aggregation.history import History
from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import (
    SCORE_TOLERANCE,
    Ops,
    Secret,
    exact_length,
    middle_ranks,
)
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import InputError, require

LEAST_DEVIATIONS, MOST_DEVIATIONS = 2.0**-40, 2.0**20


class Trust(NamedTuple):
    """Accumulated updates, secret, and those of the public root, (d,)."""

    sent: History = History()
    root: torch.Tensor | None = None


@stage
def trust_screen(
    max_norm: float = 1.0, ratio: float = 0.25, deviations: float = 9.0, spared: float = 1.0
) -> Stage:
    """Clip, accumulate, score against accumulated root updates, strike, keep the better half.

    Of the better half there are never fewer than the minimum that is to be combined, where there
    are as many: hospitals that are suspended or away do not make the mean too small to open.

    1. x_i <- x_i clipped to min(max_norm, median norm); the public root update g likewise to
       max_norm.
    2. E_i <- E_i + x_i and E_0 <- E_0 + g; c_i = cos(E_i, E_0). One round's cosine is noise on
       heterogeneous data and would reject honest hospitals; the sum over rounds is not.
    3. Strike (reject) where c_i < limit - 2^-14 and the limit is the greater of ratio median(c)
       and median(c) - deviations MAD(c), but at most `spared`: whoever points as far along the
       root as that is never struck, however high the median. The tolerance (`SCORE_TOLERANCE`)
       lets rounding strike nobody: of hospitals that sent the same most have one score, and the
       MAD is 0.
    4. Go on with those not struck among the max(ceil(m / 2), minimum) best by score.

    Reveals: accepted and used, one bit a hospital each.
    Cost: n d squares, n d products, n d products with E_0 (local), 2 n inverse roots, medians
    of n scalars; with `spared` below 1 a comparison and a product more.
    """
    require(max_norm > 0, "max_norm", "positive", max_norm)
    require(0 <= ratio <= 1, "ratio", "in [0, 1]", ratio)
    # A spread of scores times this must fit the ring.
    good = LEAST_DEVIATIONS <= deviations <= MOST_DEVIATIONS
    require(good, "deviations", "in [2^-40, 2^20]", deviations)
    require(-1 <= spared <= 1, "spared", "in [-1, 1]", spared)

    def apply(context: Context, trust: State) -> tuple[Context, State]:
        if context.reference is None:
            raise InputError("trust_screen needs a reference (float (d,)); got None")
        ops = context.ops
        squared = ops.squared_norms(context.x)  # (m,)
        bound = ops.minimum(ops.median_of(squared), max_norm * max_norm)  # (1,)
        x = ops.clip(context.x, bound, norm_bound=max_norm)  # (m, d)
        g = context.reference.to(torch.float64)
        g = g * min(1.0, max_norm / max(exact_length(g), 1e-300))
        root = g if trust.root is None else trust.root + g
        sent, total = trust.sent.plus(ops, context.hospitals, x)
        score = ops.cosine(total, root)  # (m,)
        middle, bar = _middle_and_bar(ops, score, context.minimum)
        spread = ops.median_of(ops.absolute(score - middle))
        limit = ops.maximum(middle * ratio, middle - spread * deviations)
        if spared < 1.0:  # no cosine is above 1: the comparison would cost and change nothing
            limit = ops.minimum(limit, spared)
        low, worse = ops.less_each((score, limit - SCORE_TOLERANCE), (score, bar))
        accepted = ops.open("accepted", ~low)
        used = ops.open("used", ~low & ~worse)
        flagged = replace(context, x=x).reject(accepted)
        return flagged.keep(used[accepted]), Trust(sent, root)

    return Stage(apply, opens=(Opens("accepted"), Opens("used")), init=Trust, uses_reference=True)


def _middle_and_bar(ops: Ops, score: Secret, minimum: int) -> tuple[Secret, Secret]:
    """The median of the scores (m,), and the lowest score of the better half."""
    m = score.shape[0]
    middles = middle_ranks(m)
    better = m - max(-(-m // 2), min(minimum, m))  # its rank; a middle one, if half is enough
    ranks = sorted({*middles, better})
    values = dict(zip(ranks, ops.kth_values(score, ranks), strict=True))
    return ops.mean_of([values[rank] for rank in middles]), values[better]
