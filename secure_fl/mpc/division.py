"""Division of shared integers by a public one."""

from __future__ import annotations

import numpy as np

from secure_fl.errors import require
from secure_fl.mpc.ring import Ring

_WIDE = 46  # bits of what is multiplied by a reciprocal, so that 14 bits remain for that


def divide(ring: Ring, total: np.ndarray, most: int, divisor: int) -> np.ndarray:
    """Return shares of total / divisor (d,): within 5/8 of it, and exact where it is whole.

    1. While `most` is too large for a reciprocal that is exact enough: divide roughly, keep the
       quotient, and go on with the remainder, which is some 14 to 30 bits shorter.
    2. Multiply by 2^room / divisor, rounded; add a half, and floor.

    Args:
        ring: the parties' protocols.
        total: shares (d,) of integers.
        most: public bound on |total|, below 2^62.
        divisor: public, at least 1, below 2^30.
    """
    require(0 <= most < 2**62, "most", "below 2^62", most)
    require(1 <= divisor < 2**30, "divisor", "from 1 to 2^30", divisor)
    quotient = np.zeros_like(total)
    if divisor == 1:
        return total
    # |total| reciprocal stays below 2^61, and its rounding moves the quotient by at most
    # most / 2^(room + 1).
    while (room := _room(most, divisor)) < most.bit_length() + 2:
        drop = max(0, most.bit_length() - _WIDE)
        part = ring.floor_shift(total[None], drop)[0] if drop else total
        most = (most >> drop) + 1
        room = _room(most, divisor)
        scaled = part * np.int64(round(2**room / divisor))
        rough = ring.floor_shift(scaled[None], room)[0] << drop
        quotient = quotient + rough
        total = total - rough * np.int64(divisor)
        most = (1 + divisor + (most * divisor >> room + 1) + 1) << drop
    scaled = total * np.int64(round(2**room / divisor))
    scaled += ring.constant(1 << room - 1, total.shape)
    return quotient + ring.floor_shift(scaled[None], room)[0]


def nearest(ring: Ring, total: np.ndarray, most: int, divisor: int) -> np.ndarray:
    """Return shares of floor(total / divisor + 1/2) (d,), exactly.

    1. Divide roughly (`divide`): q, within 5/8.   2. With r = 2 (total - q divisor) + divisor,
    which lies in [-divisor / 4, 9 divisor / 4], add [r >= 2 divisor] - [r < 0].

    Args and conditions as in `divide`.
    """
    if divisor == 1:
        return total
    quotient = divide(ring, total, most, divisor)
    rest = (total - quotient * np.int64(divisor)) * np.int64(2) + ring.constant(
        divisor, total.shape
    )
    both = np.stack([rest - ring.constant(2 * divisor, total.shape), rest])
    bits = (3 * divisor).bit_length() + 1
    planes, _ = ring.a2b(both, bits, carries=False)
    above, whole = ring.b2a(planes, total.shape[0], (bits - 1,))  # [not negative] of both
    return quotient + above + whole - ring.constant(1, total.shape)


def _room(most: int, divisor: int) -> int:
    """Fractional bits of the reciprocal."""
    return min(62, 60 - most.bit_length() + divisor.bit_length())
