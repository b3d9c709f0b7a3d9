"""Distances, inverses and directions from the Gram matrix alone: nothing of size d."""

from __future__ import annotations

import math
from dataclasses import replace

from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.ranges import Span

SQUARINGS = 4
FEW_BITS = 30
"""Bits of numbers whose products fit the ring: enough for directions, and fewer rounds."""
SLACK = 1.01
"""What public bounds leave for rounding."""


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


def centered(ops: Ops, gram: Secret) -> Secret:
    """Return m^2 (x_i - v) . (x_j - v) for the mean v of all rows, (m, m), exactly."""
    m = gram.shape[0]
    rows = ops.sum(gram)  # (m,)
    sides = ops.expand(rows, 1, m) + ops.expand(rows, 0, m)
    return (gram * float(m) - sides) * float(m) + ops.sum(rows)


def normalized_by_trace(ops: Ops, a: Secret, most: float = math.inf) -> Secret:
    """Return a (m, m), positive semidefinite, with a trace in [1/4, 1): no entry is above 1.

    It is multiplied by a power of 4: a root would cost many rounds more. 0 stays 0.

    Args:
        most: a public bound on the trace; the sharper, the more bits are left.
    """
    trace = ops.sum(ops.diagonal(a))  # (1,)
    bounded = replace(trace, span=Span(0.0, min(trace.span.high, most)))
    return ops.normalized(a, bounded, least_size(trace), most=SLACK)


def least_size(size: Secret) -> float:
    """Return below which a size counts as that: 2^-40 of its range, 2^8 steps if that is more."""
    if math.isinf(size.span.high):  # floating point
        return 2.0**-100
    return max(size.span.high * 2.0**-40, size.unit * 2.0**9)


def top_column(ops: Ops, a: Secret) -> Secret:
    """Return nearly the top eigenvector, (m,), of a (m, m) out of `normalized_by_trace`.

    It is the column of a^16 with the largest diagonal entry, of equal ones the first: of all
    columns none is longer in that direction. That entry is in [1/4, 1) then, and no other exceeds
    it; 0 for a = 0.
    """
    for _ in range(SQUARINGS):
        squared = ops.matmul(a, a, most=SLACK, bits=FEW_BITS)  # of a trace below 1, too
        a = normalized_by_trace(ops, squared, most=1 - 2.0**-FEW_BITS)
    own = ops.diagonal(a)
    first = largest(ops, own)
    size = ops.sum(own * first)  # (1,), at least trace / m
    return ops.normalized(
        ops.matmul(a, first, most=SLACK, bits=FEW_BITS), size, 1 / (8 * a.shape[0]), most=SLACK
    )


def shares(ops: Ops, a: Secret, most: float, least: float) -> Secret:
    """Return a_i / sum_j a_j, (m,), for numbers from 0 to `most` whose sum is at least `least`.

    Two inverse roots of the sum in a row, so that no number leaves the range in which it has bits.
    """
    root = ops.inverse_root(ops.sum(a), least)  # (1,)
    # a_i <= sum a: the first product is at most the root of a_i.
    half = ops.multiply(a, root, most=math.sqrt(most) * SLACK, bits=FEW_BITS)
    return ops.multiply(half, root, most=SLACK)
