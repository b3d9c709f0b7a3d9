"""Public ranges of secret numbers: what keeps sums and products from wrapping around the ring.

Every `Secret` of the fixed and mpc backends carries a `Span`. Operations compute with spans as with
the numbers, and refuse by name what could leave the ring, whatever the secrets are.
"""

from __future__ import annotations

import math
from typing import NamedTuple

from secure_fl.errors import InputError

MOST_STEPS = 1.5 * 2**62
"""Integers stay below this: 2^63 is where they wrap, the rest is for the rounding of spans."""

WIDTHLESS_BITS = 37
"""Bits of what may be submitted to rules that declare no width."""

ROUNDING_SHARE = 0.25
"""Share of its length by which rounding to steps may change an update: it turns by 14 degrees."""


class Span(NamedTuple):
    """low <= value <= high, both public; infinite where nothing is known."""

    low: float = -math.inf
    high: float = math.inf

    def plus(self, other: Span) -> Span:
        """Range of a + b."""
        return Span(self.low + other.low, self.high + other.high)

    def minus(self, other: Span) -> Span:
        """Range of a - b."""
        return Span(self.low - other.high, self.high - other.low)

    def times(self, other: Span) -> Span:
        """Range of a b."""
        ends = [0.0 if 0 in (a, b) else a * b for a in self for b in other]
        return Span(min(ends), max(ends))

    def scaled(self, factor: float) -> Span:
        """Range of a times a public factor."""
        return self.times(Span(factor, factor))

    def or_zero(self) -> Span:
        """Range of a times a bit."""
        return Span(min(self.low, 0.0), max(self.high, 0.0))

    @property
    def size(self) -> float:
        """Largest magnitude."""
        return max(abs(self.low), abs(self.high))


def point(value: float) -> Span:
    """The span of a public number."""
    return Span(value, value)


def within(span: Span, unit: float, what: str) -> Span:
    """Return a span whose numbers fit the ring in steps of `unit`.

    Raises:
        InputError: they could wrap.
    """
    if not span.size / unit <= MOST_STEPS:
        raise InputError(
            f"{what} must stay within 2^62 steps of {unit:g}; got numbers up to {span.size:g}: "
            "lower max_abs, or the public numbers that they are compared with or multiplied by"
        )
    return span


def shortest(dim: int, unit: float) -> float:
    """Length below which rounding to steps changes an update by more than `ROUNDING_SHARE` of it.

    Rounding moves each of `dim` coordinates by unit / sqrt(12) on average.
    """
    return math.sqrt(dim / 12) * unit / ROUNDING_SHARE
