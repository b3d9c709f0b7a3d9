"""Distances, inverses and directions from the Gram matrix alone: nothing of size d."""

from __future__ import annotations

import math

from secure_fl.aggregation.ops import Ops, Secret, Updates

POWER_STEPS = 9
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


def centered(ops: Ops, gram: Secret) -> Secret:
    """Return m^2 (x_i - v) . (x_j - v) for the mean v of all rows, (m, m), exactly."""
    m = gram.shape[0]
    rows = ops.sum(gram)  # (m,)
    sides = ops.expand(rows, 1, m) + ops.expand(rows, 0, m)
    return (gram * float(m) - sides) * float(m) + ops.sum(rows)


def of_unit_trace(ops: Ops, a: Secret) -> Secret:
    """Return a (m, m), positive semidefinite, divided by about its trace: no entry is above 1.

    A trace below 2^-40 of the largest that its range allows counts as that.
    """
    trace = ops.sum(ops.diagonal(a))  # (1,)
    widest = trace.span.high
    least = 2.0**-100 if math.isinf(widest) else max(widest * 2.0**-40, 4 * trace.unit)
    root = ops.inverse_root(trace, least)
    half = ops.multiply(a, root, most=math.sqrt(widest) * _SLACK)
    return ops.multiply(half, root, most=_SLACK)


def top_direction(ops: Ops, a: Secret) -> Secret:
    """Return nearly the top eigenvector of a (m, m), positive semidefinite and of trace at most 1.

    Nine steps of the power iteration from the column of the largest diagonal entry, of equal ones
    the first: of all columns it cannot be short in that direction. Length 1, but for a = 0.
    """
    m = a.shape[0]
    column = ops.expand(largest(ops, ops.diagonal(a)), 0, m)
    v = ops.sum(a * column)
    for _ in range(POWER_STEPS // 2):
        v = times_vector(ops, a, v, most=_SLACK)
        # A step shortens by 1 / m at the most: the top eigenvalue is that at least.
        root = ops.inverse_root(ops.sum(ops.multiply(v, v, most=_SLACK)), max(m**-4.0 / 2, 2**-38))
        v = times_vector(ops, a, ops.multiply(v, root, most=_SLACK), most=_SLACK)
    root = ops.inverse_root(ops.sum(ops.multiply(v, v, most=_SLACK)), max(m**-2.0 / 2, 2**-38))
    return ops.multiply(v, root, most=_SLACK)


def shares(ops: Ops, a: Secret, most: float, least: float) -> Secret:
    """Return a_i / sum_j a_j, (m,), for numbers from 0 to `most` whose sum is at least `least`.

    Two inverse roots of the sum in a row, so that no number leaves the range in which it has bits.
    """
    root = ops.inverse_root(ops.sum(a), least)  # (1,)
    # a_i <= sum a: the first product is at most the root of a_i.
    half = ops.multiply(a, root, most=math.sqrt(most) * _SLACK)
    return ops.multiply(half, root, most=_SLACK)
