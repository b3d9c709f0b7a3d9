"""Distances, inverses and directions from the Gram matrix alone: nothing of size d."""

from __future__ import annotations

import math

from secure_fl.aggregation.ops import Ops, Secret, Updates

_SLACK = 1.01  # for the rounding of what a public bound is known of


def squared_distances(ops: Ops, x: Updates) -> Secret:
    """Return ||x_i - x_j||^2, (m, m): g_ii + g_jj - 2 g_ij, exactly; 0 on the diagonal."""
    gram, m = ops.gram(x), x.shape[0]
    own = ops.diagonal(gram)
    return ops.expand(own, 1, m) + ops.expand(own, 0, m) - gram * 2.0


def krum_scores(ops: Ops, x: Updates, num_malicious: int) -> Secret:
    """Return for each row the sum of its m - f - 2 smallest squared distances to others, (m,)."""
    m = x.shape[0]
    apart = squared_distances(ops, x)
    # And the row itself, at distance 0; an equal row in its place changes no sum.
    near = ops.smallest(apart, max(m - num_malicious - 2, 0) + 1)
    return ops.sum(apart * near)


def largest(ops: Ops, a: Secret) -> Secret:
    """Return bits (m,): the largest number of a (m,), of equal ones the first."""
    return ops.smallest(-a, 1)


def times_vector(ops: Ops, a: Secret, v: Secret, most: float | None = None) -> Secret:
    """Return a v, (m,), for a (m, m) and v (m,); `most` bounds each |a_ij v_j|."""
    return ops.sum(ops.multiply(a, ops.expand(v, 0, a.shape[0]), most))


def shares(ops: Ops, a: Secret, most: float, least: float) -> Secret:
    """Return a_i / sum_j a_j, (m,), for numbers from 0 to `most` whose sum is at least `least`.

    Two inverse roots of the sum in a row, so that no number leaves the range in which it has bits.
    """
    root = ops.inverse_root(ops.sum(a), least)  # (1,)
    # a_i <= sum a: the first product is at most the root of a_i.
    half = ops.multiply(a, root, most=math.sqrt(most) * _SLACK)
    return ops.multiply(half, root, most=_SLACK)
