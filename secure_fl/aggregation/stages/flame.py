"""Reject who points elsewhere than most, bound the rest by the median length, average."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import SCORE_TOLERANCE
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.errors import require


@stage
def flame(threshold: float = 0.0) -> Stage:
    """Accept i where at least m // 2 others j have cos(x_i, x_j) >= threshold; clip; average.

    Rows are clipped to the median length of all m, by squares. Nguyen et al., USENIX Security 2022,
    algorithm 1, where HDBSCAN with clusters of at least m // 2 + 1 takes the place of the
    threshold, and noise is added: who wants it adds it to the update that was opened, as safely.
    A cosine up to 2^-14 below the threshold counts as there (`SCORE_TOLERANCE`).

    Range: as `squared_norms`.
    Reveals: accepted, one bit a hospital.
    Cost: n^2 inner products, n^2 comparisons and 2 n inverse roots; n d products.
    """
    require(-1 <= threshold <= 1, "threshold", "in [-1, 1]", threshold)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        m = x.shape[0]
        near = ops.pairwise_cosine(x) >= threshold - SCORE_TOLERANCE  # (m, m)
        counted = ops.take(near, torch.arange(m * m).reshape(m, m))
        others = ops.sum(counted) - ops.diagonal(counted)
        flags = ops.open("accepted", others >= float(m // 2))
        if not flags.any():
            return context.reject(flags), state
        bounded = ops.clip(x, ops.median_of(ops.squared_norms(x)))
        update = ops.weighted_mean(bounded, flags.to(torch.float64))
        return replace(context.reject(flags), update=update), state

    return Stage(apply, opens=(Opens("accepted"),))
