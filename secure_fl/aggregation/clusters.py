"""Two clusters of rows by their cosines, on secret numbers."""

from __future__ import annotations

import torch

from secure_fl.aggregation.gram_ops import largest
from secure_fl.aggregation.ops import SCORE_TOLERANCE, Ops, Secret, Updates


def linked(ops: Ops, similar: Secret) -> Secret:
    """Return for each pair the weakest link of the best path between them, (m, m).

    By Floyd's and Warshall's recursion over the rows that a path may visit: s_ij <- max(s_ij,
    min(s_ik, s_kj)). The diagonal means nothing.
    """
    m = similar.shape[0]
    for k in range(m):
        links = ops.take(similar, k * m + torch.arange(m))  # (m,)
        through = ops.minimum(ops.expand(links, 1, m), ops.expand(links, 0, m))
        similar = ops.maximum(similar, through)
    return similar


def majority(ops: Ops, x: Updates) -> Secret:
    """Return bits (m,): in the larger of two clusters by single linkage of cosines.

    The weakest link of the maximal spanning tree is cut, with all links that are as weak, up to
    2^-14; none where all point alike, to 2^-14. Of equally large clusters that of the first row.
    """
    m = x.shape[0]
    if m == 1:
        return ops.smallest(ops.squared_norms(x), 1)
    link = linked(ops, ops.pairwise_cosine(x))
    apart = ~torch.eye(m, dtype=torch.bool)
    between = ops.take(link, apart.flatten().nonzero()[:, 0])  # (m (m - 1),)
    weakest = -ops.sum(-between * largest(ops, -between))  # (1,)
    cut = ops.minimum(weakest + SCORE_TOLERANCE, 1 - SCORE_TOLERANCE)
    together = ops.take(link > cut, torch.arange(m * m).reshape(m, m))  # numbers (m, m)
    own = ops.diagonal(together)
    pivot = largest(ops, ops.sum(together) - own)  # of the largest cluster, the first row
    others = ops.sum(together * ops.expand(pivot, 1, m), 0)
    return others + pivot * (1.0 - own) > 0.5
