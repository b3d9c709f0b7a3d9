"""Whole numbers that stand for a share of something."""

from __future__ import annotations

import math

from secure_fl.errors import require

MOST_HOSPITALS = 1024
"""As many as a contract's words have bits for (`ledger.members.members.MAX_HOSPITALS`)."""

_SLACK = 1 + 2**-40
"""A share comes from decimals or a quotient, each step of which rounds by 2^-53 of its value, so
that the product of 0.29 and 100 lies below 29. Thousands of such steps stay within 2^-40; shares
that are really smaller than k / count by no more than that are not told apart."""


def share_count(share: float, count: int) -> int:
    """Return floor(share * count) for the number that `share` stands for: 0.29 of 100 is 29.

    Args:
        share: in [0, 1].
        count: at least 0.

    Raises:
        InputError: an argument is out of range.

    Example:
        >>> share_count(0.29, 100), share_count(1 / 49, 49), share_count(0.2, 9)
        (29, 1, 1)
    """
    require(0 <= share <= 1, "share", "in [0, 1]", share)
    require(count >= 0, "count", "at least 0", count)
    return min(math.floor(share * count * _SLACK), count)


def trim_count(beta: float, rows: int) -> int:
    """Return floor(beta rows), how many of `rows` values go off each end; one at least remains.

    Raises:
        InputError: beta is not in [0, 0.5), or there are no rows.
    """
    require(0 <= beta < 0.5, "beta", "in [0, 0.5)", beta)
    require(rows >= 1, "rows", "at least 1", rows)
    return min(share_count(beta, rows), (rows - 1) // 2)
