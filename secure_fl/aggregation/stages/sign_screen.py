"""Reject updates of unusual length or with an unusual share of negative coordinates."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import share_count
from secure_fl.errors import require


@stage
def sign_screen(
    lower: float = 0.1, upper: float = 3.0, share: float = 0.1, deviations: float = 3.0
) -> Stage:
    """Reject by norm band and sign statistics, and clip the rest to the median norm: SignGuard.

    Xu, Huang, Song, Lan, Byzantine-robust federated learning through collaborative malicious
    gradient filtering, ICDCS 2022. With M the median norm:
    1. Keep i where lower M <= ||x_i|| <= upper M.
    2. Count the negative coordinates c_i among a random share of all, drawn from public randomness
       that follows from the commitments. Keep i where |c_i - median(c)| <= deviations MAD(c).
    3. Go on with those kept in both, clipped to M.

    SignGuard has the shares of positive, zero and negative signs and takes the largest cluster of
    mean shift, which branches on data: here there is one number a hospital, zeros count as
    positive, and the cluster is what lies around the median.

    Range: squared norms.  Reveals: accepted, one bit a hospital.  Cost: bits of the drawn
    coordinates, n d squares twice, medians of m numbers.
    """
    require(0 <= lower <= 1, "lower", "in [0, 1]", lower)
    require(1 <= upper <= 2**10, "upper", "in [1, 2^10]", upper)
    require(0 < share <= 1, "share", "in (0, 1]", share)
    require(2**-40 <= deviations <= 2**20, "deviations", "in [2^-40, 2^20]", deviations)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, (_, d) = context.ops, context.x.shape
        squared = ops.squared_norms(context.x)  # (m,)
        middle = ops.median_of(squared)  # (1,)
        drawn = context.surroundings.drawn(max(1, share_count(share, d)), d)
        below = ops.sum(ops.signs(ops.columns(context.x, drawn)), 1)  # (m,)
        gap = ops.absolute(below - ops.median_of(below))
        limit = ops.median_of(gap) * deviations
        short, long, odd = ops.less_each(
            (squared, middle * lower**2), (middle * upper**2, squared), (limit, gap)
        )
        left = context.reject(ops.open("accepted", ~short & ~long & ~odd))
        if left.hospitals:
            left = replace(left, x=ops.clip(left.x, middle))
        return left, state

    return Stage(apply, opens=(Opens("accepted"),))
