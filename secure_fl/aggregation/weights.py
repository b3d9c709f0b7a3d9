"""Public weights as integers, so that a weighted mean carries no more than it says.

With weights W_i that differ, the exact sum S = sum_i W_i x_i is more than a mean: of one row with
another weight than the rest, S W_b^-1 modulo W_a *is* that row. So the W_i add up to a power of
two, and S is divided by it, and rounded down, before it leaves. Equal weights need no product:
what leaves is the plain sum of the rows.

Integers throughout: every node finds the same, on any processor.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch

from secure_fl.errors import require

WEIGHT_BITS = 24
"""Weights that differ add up to 2^24: each is within 2^-24 of its share."""

COPIES_BITS = 8
"""Rows of a weighted median stand 2^8 times in all."""

REAL_SHARE = 8
"""A row counts as one among others if it has at least an eighth of the largest weight."""

_INPUT_BITS = 30  # fractional bits to which a weight is read


class Apportioned(NamedTuple):
    """Weights of rows, as integers.

    Attributes:
        integers: one a row, not negative.
        shift: they add up to 2^shift; 0 where all that are not zero are one, for equal weights.
    """

    integers: tuple[int, ...]
    shift: int


def apportion(weights: torch.Tensor) -> Apportioned:
    """Turn weights (m,), at least 0 and not all 0, into integers (method of largest remainders).

    Each gets the whole part of its share of 2^24; what is left goes, one each, to the largest
    remainders, of equal ones to the lower row.

    Raises:
        InputError: a weight is negative or not finite, or all are zero.

    Example:
        >>> apportion(torch.tensor([1.0, 1.0, 0.0]))
        Apportioned(integers=(1, 1, 0), shift=0)
        >>> apportion(torch.tensor([0.5, 0.25, 0.25])).integers
        (8388608, 4194304, 4194304)
    """
    return _apportioned(weights, WEIGHT_BITS)


def _apportioned(weights: torch.Tensor, bits: int) -> Apportioned:
    read = _read(weights)
    total = sum(read)
    require(total > 0, "weights", "not all zero", weights.tolist())
    if len({value for value in read if value}) == 1:
        return Apportioned(tuple(int(value > 0) for value in read), 0)
    shares = [divmod(value << bits, total) for value in read]
    left = (1 << bits) - sum(whole for whole, _ in shares)
    order = sorted(range(len(shares)), key=lambda row: -shares[row][1])  # stable: lower row first
    luckier = set(order[:left])
    integers = tuple(whole + (row in luckier) for row, (whole, _) in enumerate(shares))
    return Apportioned(integers, bits)


def whole_copies(weights: torch.Tensor) -> list[int]:
    """How often each row stands in a multiset, for weights (m,): up to 2^8 in all.

    In 2^8, by the method of largest remainders as in `apportion`, or 1 each where weights are
    equal; without what all counts have in common. Of rows without weight none.

    Raises:
        InputError: a weight is negative or not finite, or all are zero.

    Example:
        >>> whole_copies(torch.tensor([1.0, 1.0, 0.0])), whole_copies(torch.tensor([0.5, 1.5]))
        ([1, 1, 0], [1, 3])
    """
    counts = _apportioned(weights, COPIES_BITS).integers
    return [count // math.gcd(*counts) for count in counts]


def real_rows(weights: torch.Tensor) -> int:
    """Return how many rows have real weight: at least an eighth of the largest."""
    read = _read(weights)
    return sum(value > 0 and REAL_SHARE * value >= max(read) for value in read)


def median_rows(copies: Sequence[int]) -> int:
    """Return of how many rows a coordinate-wise median is at least, where row i stands
    `copies[i]` times.

    2 h - 1, where no fewer than h rows are half of all copies, and no more than there are: all of
    them where they stand equally often, 1 where one row is half by itself. That one's values stand
    in the middle of every coordinate.

    Example:
        >>> median_rows([1, 1, 1, 1]), median_rows([3, 1, 1, 1]), median_rows([4, 2, 2, 1])
        (4, 1, 3)
    """
    held = sorted((count for count in copies if count), reverse=True)
    if len(set(held)) == 1:
        return len(held)
    half = next(h for h in range(1, len(held) + 1) if 2 * sum(held[:h]) >= sum(held))
    return min(2 * half - 1, len(held))


def _read(weights: torch.Tensor) -> Sequence[int]:
    values = [float(value) for value in weights.tolist()]
    good = all(0 <= value < 2**20 for value in values)
    require(good, "weights", "finite, at least 0 and below 2^20", values)
    return [round(value * 2**_INPUT_BITS) for value in values]
