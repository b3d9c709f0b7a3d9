"""Roots of integers modulo 2^64, exact to the same bit in the clear and on shares.

What is public goes through the same steps in the clear: a public number's root costs nothing.
"""

from __future__ import annotations

from typing import NamedTuple, TypeVar

import torch

from secure_fl.aggregation.worlds.clear_ring import ClearRing
from secure_fl.aggregation.worlds.constants import differences
from secure_fl.aggregation.worlds.integer_ring import IntegerRing, Numbers

_PAIRS = 31  # a squared norm below 2^62 has 31 pairs of bits
_NEWTON_STEPS = 3


class Normal(NamedTuple):
    """A non-negative integer s < 2^62 as 4^e u, with e and u secret.

    With 4^(e-1) <= s < 4^e and 1/4 <= u < 1: sqrt(s) = 2^e sqrt(u). All zero for s = 0.

    Attributes:
        shrink: 2^(31-e).   grow: 2^e.   u: 28 fractional bits.
    """

    shrink: Numbers
    grow: Numbers
    u: Numbers


class Root(NamedTuple):
    """A `Normal` and its inverse root.

    Attributes:
        shrink, grow, u: see `Normal`.
        y: 1/sqrt(u), 30 fractional bits, relative error below 2^-23.
    """

    shrink: Numbers
    grow: Numbers
    u: Numbers
    y: Numbers


_Parts = TypeVar("_Parts", Normal, Root)


def in_two(ring: IntegerRing, both: _Parts, first: int, second: int) -> tuple[_Parts, _Parts]:
    """Cut what was found for two arrays of `first` and `second` numbers, in the rounds of one."""
    made = type(both)
    return (
        made(*(ring.part(each, 0, first) for each in both)),
        made(*(ring.part(each, first, first + second) for each in both)),
    )


def normalized(ring: IntegerRing, squared: Numbers) -> Normal:
    """Normalize s in [0, 2^62)."""
    steps = ring.powers_of_four(squared)  # (..., 31): [s >= 4^(e-1)] for e = 1..31
    exponent = torch.arange(1, _PAIRS + 1)
    # One-hot of e is the difference of neighbours; fold it into the weights instead.
    shrink = ring.weigh_last(steps, differences(2 ** (_PAIRS - exponent)))
    grow = ring.weigh_last(steps, differences(2**exponent))
    square = ring.weigh_last(steps, differences(4 ** (_PAIRS - exponent)))
    u = ring.floor_shift(ring.product(squared, square), 34)  # s 4^(31-e): 62 -> 28 bits
    return Normal(shrink, grow, u)


def inverse_root(ring: IntegerRing, squared: Numbers) -> Root:
    """Normalize s in [0, 2^62) and find 1/sqrt(u) by Newton's iteration.

    y <- y (3 - u y^2) / 2 from y0 = 2.16 - 1.25 u, whose relative error is at most 0.1;
    each step leaves 1.5 times the square of the error before.
    """
    shrink, grow, u = normalized(ring, squared)
    y = ring.minus(ring.constant_as(u, round(2.16 * 2**30)), ring.times(u, 5))
    for _ in range(_NEWTON_STEPS):
        square_y = ring.floor_shift(ring.product(y, y), 30)
        t = ring.floor_shift(ring.product(square_y, u), 28)
        y = ring.product(y, ring.minus(ring.constant_as(t, 3 << 30), t))
        y = ring.floor_shift(y, 31)
    return Root(shrink, grow, u, y)


class PublicRoot(NamedTuple):
    """sqrt(s) = 2^e sqrt(u) of a public s (see `Normal`).

    Attributes:
        grow: 2^e.   root: sqrt(u), 30 fractional bits.
    """

    grow: int
    root: int


def public_root(squared: int) -> PublicRoot:
    """The root of a public number in [0, 2^62), to the bit that shares of it would give."""
    ring = ClearRing()
    found = inverse_root(ring, torch.tensor([squared]))
    root = ring.floor_shift(ring.product(found.u, found.y), 28)
    return PublicRoot(int(found.grow[0]), int(root[0]))
