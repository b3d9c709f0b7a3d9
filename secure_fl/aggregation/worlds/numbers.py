"""Small secret arrays in fixed point: numbers with units and ranges that rescale by themselves."""

from __future__ import annotations

import math
from collections.abc import Sequence
from fractions import Fraction

import numpy as np  # its broadcast_shapes; torch's imports sympy, half a second
import torch

from secure_fl.aggregation.array_ops import PRODUCT_BITS
from secure_fl.aggregation.ops import Ops, Secret
from secure_fl.aggregation.ranges import MOST_STEPS, Span, point, within
from secure_fl.aggregation.worlds.constants import (
    differences,
    is_power_of_two,
    public_factor,
    ratio,
)
from secure_fl.aggregation.worlds.integer_ring import IntegerRing, Numbers
from secure_fl.aggregation.worlds.roots import inverse_root
from secure_fl.errors import require

_LARGEST_FACTOR = 2.0**200
_SHORT_BITS = 8  # of public factors whose products stay exact
_ROOT_BITS = 30  # of the largest inverse root


class FixedNumbers(Ops):
    """`ArrayOps` over integers modulo 2^64.

    Args:
        ring: what computes with the integers.
    """

    def __init__(self, ring: IntegerRing) -> None:
        super().__init__()
        self.ring = ring

    def _wrap(self, data: Numbers, shape: tuple[int, ...], unit: float, span: Span) -> Secret:
        return Secret(self, data, shape, unit, span=span)

    def _number(self, a: Secret) -> Secret:
        """Bits as the numbers 0 and 1; numbers as they are."""
        if not a.is_bit:
            return a
        data = self.ring.reshaped(self.ring.bits_to_ring(a.data), a.shape)
        return self._wrap(data, a.shape, 1.0, Span(0.0, 1.0))

    # --- units ---

    def _public(self, value: float, unit: float) -> Secret:
        span = within(point(value), unit, "a public number")
        return self._wrap(self.ring.constant(round(value / unit), 1), (1,), unit, span)

    def _in_unit(self, a: Secret, unit: float) -> Secret:
        """The same numbers in steps of a finer unit, exactly, or rounded down to a coarser one."""
        if unit > a.unit:
            drop = min(ratio(unit, a.unit).bit_length() - 1, 62)  # 0 or -1 is left at the most
            span = Span(a.span.low - unit, a.span.high)
            return self._wrap(self.ring.floor_shift(a.data, drop), a.shape, unit, span)
        span = within(a.span, unit, "a number beside a finer one")
        return self._wrap(self.ring.times(a.data, ratio(a.unit, unit)), a.shape, unit, span)

    def _with_room(self, a: Secret, factor: float) -> Secret:
        """Steps so coarse that numbers `factor` times as large as these fit."""
        steps = a.span.size * factor / a.unit
        if steps <= MOST_STEPS or math.isinf(steps):
            return a
        return self._in_unit(a, a.unit * 2.0 ** math.ceil(math.log2(steps / MOST_STEPS)))

    def _aligned(self, a: Secret, b: Secret | float) -> tuple[Secret, Secret]:
        """Both in steps of one unit: the finer one, or the finest in which their sum fits."""
        a = self._number(a)
        other = self._number(b) if isinstance(b, Secret) else b
        unit = min(a.unit, other.unit) if isinstance(other, Secret) else a.unit
        size = other.span.size if isinstance(other, Secret) else abs(other)
        steps = (a.span.size + size) / unit
        if MOST_STEPS < steps < math.inf:
            unit *= 2.0 ** math.ceil(math.log2(steps / MOST_STEPS) + 2.0**-20)
        a = a if a.unit == unit else self._in_unit(a, unit)
        if not isinstance(other, Secret):
            return a, self._public(other, unit)
        return a, other if other.unit == unit else self._in_unit(other, unit)

    # --- arithmetic ---

    def _add(self, a: Secret, b: Secret | float) -> Secret:
        left, right = self._aligned(a, b)
        shape = np.broadcast_shapes(left.shape, right.shape)
        span = within(left.span.plus(right.span), left.unit, "a sum")
        return self._wrap(self.ring.plus(left.data, right.data), tuple(shape), left.unit, span)

    def _subtract(self, a: Secret, b: Secret | float) -> Secret:
        left, right = self._aligned(a, b)
        shape = np.broadcast_shapes(left.shape, right.shape)
        span = within(left.span.minus(right.span), left.unit, "a difference")
        return self._wrap(self.ring.minus(left.data, right.data), tuple(shape), left.unit, span)

    def _multiply(self, a: Secret, b: Secret | float, most: float | None, bits: int) -> Secret:
        if not isinstance(b, Secret):
            return self._times_public(self._number(a), b)
        if a.is_bit and not b.is_bit:
            a, b = b, a
        shape = tuple(np.broadcast_shapes(a.shape, b.shape))
        a, is_bit, b = self._number(a), b.is_bit, self._number(b)
        if is_bit:
            return self._wrap(self.ring.product(a.data, b.data), shape, a.unit, a.span.or_zero())
        a, b = self._that_fit(a, b, most)
        span = a.span.times(b.span)
        if most is not None:
            span = Span(max(span.low, -most), min(span.high, most))
        within(span, a.unit * b.unit, "a product")
        product = self.ring.product(a.data, b.data)
        return self._rounded(self._wrap(product, shape, a.unit * b.unit, span), bits)

    def _rounded(self, product: Secret, bits: int = PRODUCT_BITS) -> Secret:
        """What has more bits than a product keeps, rounded down to those."""
        drop = math.ceil(math.log2(max(product.span.size / product.unit, 1.0))) - bits
        return product if drop <= 0 else self._in_unit(product, product.unit * 2.0**drop)

    def _that_fit(
        self, a: Secret, b: Secret, most: float | None, terms: int = 1
    ) -> tuple[Secret, Secret]:
        """Factors of which `terms` products fit: the longer one is rounded down to as many bits."""
        steps = a.span.size / a.unit, b.span.size / b.unit
        product = steps[0] * steps[1] * terms
        if most is not None:
            product = min(product, most / a.unit / b.unit)
        if not MOST_STEPS < product < math.inf:
            return a, b
        longer = math.log2(steps[0]) - math.log2(steps[1])
        excess = math.ceil(math.log2(product) - math.log2(MOST_STEPS)) + 1
        first = min(max(math.ceil((excess + longer) / 2), 0), excess)
        if first:
            a = self._in_unit(a, a.unit * 2.0**first)
        if excess > first:
            b = self._in_unit(b, b.unit * 2.0 ** (excess - first))
        return a, b

    def _matmul(self, a: Secret, b: Secret, most: float | None, bits: int) -> Secret:
        terms = a.shape[1]
        a, b = self._that_fit(self._number(a), self._number(b), most, terms)
        span = a.span.times(b.span).scaled(terms)
        if most is not None:
            span = Span(max(span.low, -most), min(span.high, most))
        within(span, a.unit * b.unit, "a product of matrices")
        column = self.ring.reshaped(b.data, (terms, math.prod(b.shape[1:])))
        shape = (a.shape[0], *b.shape[1:])
        product = self.ring.reshaped(self.ring.matmul(a.data, column), shape)
        return self._rounded(self._wrap(product, shape, a.unit * b.unit, span), bits)

    def _normalized(self, a: Secret, size: Secret, floor: float, most: float) -> Secret:
        a, size = self._number(a), self._number(size)
        require(is_power_of_two(size.unit), "unit of a size", "2^k", size.unit)
        size = self._in_even_unit(size)
        require(floor >= size.unit * 2.0**8, "floor", f"at least 2^8 of {size.unit:g}", floor)
        least = _exponent(floor / size.unit)
        top = max(_exponent(size.span.high / size.unit), least)
        growth = 4.0**top * size.unit  # results are in steps of a's unit by this
        excess = math.ceil(math.log2(most * growth / a.unit)) - 60
        if excess > 0:
            a = self._in_unit(a, a.unit * 2.0**excess)
        # What is smaller than the floor grows as the floor does; nothing stays nothing.
        growing = differences(4 ** (top - torch.arange(1, 32).clamp(least, top)))
        factor = self.ring.weigh_last(self.ring.powers_of_four(size.data), growing)
        unit = a.unit / growth
        span = Span(-most if a.span.low < 0 else 0.0, most)
        return self._rounded(self._wrap(self.ring.product(a.data, factor), a.shape, unit, span))

    def _times_public(self, a: Secret, b: float) -> Secret:
        # Beyond either the unit of the product would leave the numbers that floating point has.
        good = b == 0 or 1 / _LARGEST_FACTOR < abs(b) < _LARGEST_FACTOR
        require(good, "a public factor", "0 or between 2^-200 and 2^200", b)
        integer, shift = public_factor(b)
        if integer == 0:
            return self._wrap(self.ring.times(a.data, 0), a.shape, a.unit, point(0.0))
        a = self._with_room(a, abs(integer)) if abs(integer) > 1 else a
        span = a.span.scaled(float(Fraction(integer) / Fraction(2) ** shift))
        within(a.span.scaled(float(integer)), a.unit, f"a product with the public {b:g}")
        scaled = self.ring.times(a.data, integer) if integer != 1 else a.data
        product = self._wrap(scaled, a.shape, a.unit * 2.0**-shift, span)
        return product if abs(integer) < 2**_SHORT_BITS else self._rounded(product)

    def _sum(self, a: Secret, axis: int) -> Secret:
        a = self._with_room(self._number(a), a.shape[axis])
        span = within(a.span.scaled(a.shape[axis]), a.unit, "a sum")
        shape = (*a.shape[:axis], *a.shape[axis + 1 :]) or (1,)
        data = self.ring.reshaped(self.ring.total(a.data, axis), shape)
        return self._wrap(data, shape, a.unit, span)

    def _take(self, a: Secret, indices: torch.Tensor) -> Secret:
        a = self._number(a)
        return self._wrap(self.ring.take(a.data, indices), tuple(indices.shape), a.unit, a.span)

    def _concatenate(self, parts: Sequence[Secret]) -> Secret:
        parts = [self._number(part) for part in parts]
        unit = min(part.unit for part in parts)
        parts = [part if part.unit == unit else self._in_unit(part, unit) for part in parts]
        data = self.ring.joined([part.data for part in parts])
        span = Span(min(part.span.low for part in parts), max(part.span.high for part in parts))
        return self._wrap(data, (sum(part.shape[0] for part in parts),), unit, span)

    def _diagonal(self, a: Secret) -> Secret:
        a = self._number(a)
        return self._wrap(self.ring.diagonal(a.data), a.shape[:1], a.unit, a.span)

    def _expand(self, a: Secret, axis: int, count: int) -> Secret:
        a = self._number(a)
        shape = (count, a.shape[0]) if axis == 0 else (a.shape[0], count)
        return self._wrap(self.ring.expand(a.data, axis, count), shape, a.unit, a.span)

    def _rounded_to(self, a: Secret, unit: float) -> Secret:
        a = self._number(a)
        return a if a.unit >= unit else self._in_unit(a, unit)

    def _inverse_root(self, a: Secret, floor: float) -> Secret:
        a = self.maximum(self._number(a), floor)
        require(is_power_of_two(a.unit), "unit of what a root is taken of", "2^k", a.unit)
        a = self._in_even_unit(a)
        require(floor >= a.unit, "floor", f"at least a step, {a.unit:g}", floor)
        root = inverse_root(self.ring, a.data)
        found = self.ring.product(root.y, root.shrink)  # 2^61 / sqrt(steps)
        largest, unit = 1 / math.sqrt(floor), 2.0**-61 / math.sqrt(a.unit)
        drop = math.floor(math.log2(largest / unit)) - _ROOT_BITS
        if drop > 0:
            found, unit = self.ring.floor_shift(found, drop), unit * 2.0**drop
        return self._wrap(found, a.shape, unit, Span(0.0, largest * (1 + 2.0**-20)))

    def _in_even_unit(self, a: Secret) -> Secret:
        """A unit of 4^k and at most 2^62 steps; a coarser one only where the finer does not fit."""
        odd = round(math.log2(a.unit)) % 2
        if not odd and a.span.size / a.unit < 2.0**62:
            return a
        fits = odd and a.span.size / a.unit < 2.0**61
        return self._in_unit(a, a.unit * (0.5 if fits else 2.0 if odd else 4.0))

    def _rescaled(self, a: Secret, factor: float) -> Secret:
        return self._wrap(a.data, a.shape, a.unit * factor, a.span.scaled(factor))

    # --- comparison ---

    def _less_each(self, pairs: Sequence[tuple[Secret, Secret | float]]) -> list[Secret]:
        differences = [self._difference(self._number(a), b) for a, b in pairs]
        found = self.ring.are_negative([difference.data for difference in differences])
        return [
            Secret(self, bits, difference.shape, is_bit=True)
            for difference, bits in zip(differences, found, strict=True)
        ]

    def _difference(self, a: Secret, b: Secret | float) -> Secret:
        """A number below zero exactly where a < b.

        A public b is rounded up to a step: the integers are below that where they are below b. One
        beyond what a can be is put at its end, where the outcome is the same.
        """
        if isinstance(b, Secret):
            return self.subtract(a, b)
        require(not math.isnan(b), "what secrets are compared with", "a number", b)
        a = self._with_room(a, 2.0 + 2.0**-30)
        slack = a.unit + a.span.size * 2.0**-40
        limit = min(max(b, a.span.low - slack), a.span.high + slack)
        steps = math.ceil(Fraction(limit) / Fraction(a.unit))
        difference = self.ring.minus(a.data, self.ring.constant(steps, 1))
        span = within(a.span.minus(point(limit)), a.unit, "a difference")
        return self._wrap(difference, a.shape, a.unit, span)

    def _both(self, a: Secret, b: Secret) -> Secret:
        return Secret(self, self.ring.both(a.data, b.data), a.shape, is_bit=True)

    def _invert(self, a: Secret) -> Secret:
        return Secret(self, self.ring.invert(a.data), a.shape, is_bit=True)

    def _kth_values(self, a: Secret, ranks: Sequence[int]) -> list[Secret]:
        a = self._with_room(a, 2.0 + 2.0**-30)
        values = self.ring.kth(a.data, tuple(ranks))
        return [self._wrap(value, (1,), a.unit, a.span) for value in values]

    def _places(self, a: Secret, ranks: Sequence[int]) -> Secret:
        a = self._with_room(self._number(a), 2.0 + 2.0**-30)
        bits = self.ring.places(a.data, tuple(ranks))
        return Secret(self, bits, (len(ranks), a.shape[0]), is_bit=True)

    def _smallest(self, a: Secret, count: int) -> Secret:
        a = self._with_room(self._number(a), 2.0 + 2.0**-30)
        data = self.ring.reshaped(a.data, (a.shape if len(a.shape) == 2 else (1, *a.shape)))
        return Secret(self, self.ring.smallest(data, count), a.shape, is_bit=True)

    def _below_zero(self, arrays: Sequence[Numbers], shape: tuple[int, ...]) -> list[Secret]:
        found = self.ring.are_negative(arrays)
        return [Secret(self, bits, shape, is_bit=True) for bits in found]


def _exponent(steps: float) -> int:
    """The least whole e, at least 1, with steps < 4^e."""
    return max((math.frexp(steps)[1] + 1) // 2, 1)
