"""Fixed-point arithmetic in Z_2^64, shared by the `fixed` and `mpc` backends.

Everything here is integer arithmetic modulo 2^64 on an abstract ring: `fixed` implements the ring
in the clear, `mpc` on shares. No operation rounds at random: division by a power of two is an
exact floor. Both backends therefore agree to the last bit, always.

Range conditions are stated where they arise, in units of the integers. Two rules cover most:
a squared norm must stay below 2^62, and so, by Cauchy and Schwarz, must every inner product.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from fractions import Fraction
from typing import NamedTuple

import numpy as np  # its broadcast_shapes; torch's imports sympy, half a second
import torch

from secure_fl.aggregation.openings import Permit
from secure_fl.aggregation.ops import (
    FRACTION_BITS,
    Ops,
    Secret,
    Updates,
    clipped_norm_bound,
    largest_norm_bound,
)
from secure_fl.aggregation.ranges import WIDTHLESS_BITS, Span, point, shortest, within
from secure_fl.aggregation.weights import apportion
from secure_fl.aggregation.worlds.constants import (
    differences,
    extra_bits,
    log2_steps,
    ratio,
    unit_direction,
)
from secure_fl.aggregation.worlds.integer_ring import IntegerRing, Ring
from secure_fl.errors import InputError, require

_COSINE_BITS = 24  # fractional bits of a cosine
_PAIRS = 31  # a squared norm below 2^62 has 31 pairs of bits
_NEWTON_STEPS = 3
_COSINES = Span(-1 - 2.0**-20, 1 + 2.0**-20)  # rounding included


def encode(x: torch.Tensor) -> torch.Tensor:
    """Return round(x * 2^16) as int64, ties to even; x is finite and below 2^46 in magnitude."""
    return torch.round(x.to(torch.float64) * 2**FRACTION_BITS).to(torch.int64)


class Normal(NamedTuple):
    """A non-negative integer s < 2^62 as 4^e u, with e and u secret.

    With 4^(e-1) <= s < 4^e and 1/4 <= u < 1: sqrt(s) = 2^e sqrt(u). All zero for s = 0.

    Attributes:
        shrink: 2^(31-e).   grow: 2^e.   u: 28 fractional bits.
    """

    shrink: Ring
    grow: Ring
    u: Ring


class Root(NamedTuple):
    """A `Normal` and its inverse root.

    Attributes:
        shrink, grow, u: see `Normal`.
        y: 1/sqrt(u), 30 fractional bits, relative error below 2^-23.
    """

    shrink: Ring
    grow: Ring
    u: Ring
    y: Ring


class FixedPointOps(IntegerRing, Ops):
    """`Ops` in terms of a small interface, `IntegerRing`."""

    def _wrap(self, data: Ring, shape: tuple[int, ...], unit: float, span: Span) -> Secret:
        return Secret(self, data, shape, unit, span=span)

    def _coordinates(self, x: Updates) -> Span:
        """Range of a coordinate; of rows without a width, that of what may be submitted."""
        largest = 2.0 ** (min(self._bits(x.data), WIDTHLESS_BITS) - 1) * x.unit
        return Span(-largest, largest)

    def _longest(self, x: Updates) -> float:
        """A public bound on the rows' norms: what is known of them, or by their width."""
        by_width = math.sqrt(x.shape[1]) * 2.0 ** (self._bits(x.data) - 1) * x.unit
        return min(x.norm_bound, by_width)

    # --- updates ---

    def _kept(self, x: Updates, indices: list[int]) -> Updates:
        data = self._rows(x.data, indices)
        return Updates(data, (len(indices), x.shape[1]), x.unit, x.norm_bound)

    def join(self, parts: Sequence[Updates]) -> Updates:
        unit = min(part.unit for part in parts)
        data = self._join([self._in_steps(part, unit).data for part in parts])
        rows = sum(part.shape[0] for part in parts)
        return Updates(data, (rows, parts[0].shape[1]), unit, largest_norm_bound(parts))

    def accumulate(self, total: Updates | None, x: Updates) -> Updates:
        if total is None:
            return x
        unit = min(total.unit, x.unit)
        total, x = self._in_steps(total, unit), self._in_steps(x, unit)
        bound = total.norm_bound + x.norm_bound
        bits = max(self._bits(total.data), self._bits(x.data)) + 1
        if math.isfinite(bound):
            bits = min(bits, math.ceil(math.log2(bound / x.unit)) + 2)
        return Updates(self._sum(total.data, x.data, bits), x.shape, x.unit, bound)

    def _in_steps(self, x: Updates, unit: float) -> Updates:
        """The same rows in steps of a finer unit, exactly."""
        factor = ratio(x.unit, unit)
        if factor == 1:
            return x
        bits = self._bits(x.data) + extra_bits(factor)
        require(bits < 64, "bits of rows in finer steps", "at most 63", bits)
        return replace(x, data=self._finer_rows(x.data, factor), unit=unit)

    def _check_norm_range(self, x: Updates, rows: int = 1, unit: float | None = None) -> None:
        """Squared norms stay below 2^61: by the coordinates' width, or by the rows' norm.

        One bit is left for a bound of half the unit (the mean of two norms). With `rows` = m, the
        same for a vector whose coordinates lie between those of m rows, in steps of `unit`: its
        square is at most the sum of theirs.
        """
        scale = 1.0 if unit is None else (x.unit / unit) ** 2
        by_width = x.shape[1] * 4.0 ** (self._bits(x.data) - 1) * scale
        by_norm = rows * (x.norm_bound / x.unit) ** 2 * scale
        if min(by_width, by_norm) > 2.0**61:
            known = "" if math.isinf(x.norm_bound) else f" and norms up to {x.norm_bound:g}"
            raise InputError(
                f"d must be at most 2^61 / 4^(bits - 1) for norms to fit the ring; got "
                f"d={x.shape[1]} with {self._bits(x.data)}-bit values{known}: lower max_abs, or "
                "clip first, to a lower norm"
            )

    def squared_norms(self, x: Updates) -> Secret:
        self._check_norm_range(x)
        span = Span(0.0, self._longest(x) ** 2)
        return self._wrap(self._norms(x.data), (x.shape[0],), x.unit**2, span)

    def _dots(self, x: Updates, reference: torch.Tensor | Secret) -> Ring:
        """x_i . reference, (m,); a public direction is scaled to length 2^30 before."""
        self._check_norm_range(x)
        if isinstance(reference, Secret):
            self._check_norm_range(x, x.shape[0], reference.unit)
            return self._row_dot(x.data, reference.data)
        return self._row_dot_public(x.data, unit_direction(reference))

    def cosine(self, x: Updates, reference: torch.Tensor | Secret) -> Secret:
        dot = self._dots(x, reference)
        root = self._root(self.squared_norms(x).data)
        if isinstance(reference, Secret):
            other = self._root(self._vector_norm(reference.data))
            return self._cosine_from(dot, root, other, (x.shape[0],))
        # |dot| <= 2^e 2^30, so dot 2^(31-e) stays within 2^61.
        q = self._floor_shift(self._product(dot, root.shrink), 31)  # 30 fractional bits
        cosine = self._floor_shift(self._product(q, root.y), 60 - _COSINE_BITS)
        return self._wrap(cosine, (x.shape[0],), 2.0**-_COSINE_BITS, _COSINES)

    def cosine_at_least(
        self, x: Updates, reference: torch.Tensor | Secret, threshold: float
    ) -> Secret:
        """Compare without a root: signs alone for the threshold 0, else signs and squares.

        cos >= t > 0 where dot > 0 and dot^2 >= t^2 s, cos < t < 0 where dot < 0 and
        dot^2 > t^2 s, s the product of the squared norms. The threshold is lowered by 2^-24, more
        than the error of dot^2 / s, so that equal directions pass 1 and all pass -1; for 0 the
        comparison is exact.
        """
        dot = self._dots(x, reference)
        shape = (x.shape[0],)
        if threshold == 0:
            return ~self._below_zero(dot, shape)
        own = self._normal(self.squared_norms(x).data)
        if isinstance(reference, Secret):
            other = self._normal(self._vector_norm(reference.data))
            q = self._product(self._product(dot, own.shrink), other.shrink)
            q = self._floor_shift(q, 32)  # as in `_cosine_from`
            u = self._floor_shift(self._product(own.u, other.u), 28)
        else:
            q = self._floor_shift(self._product(dot, own.shrink), 31)
            u = own.u
        # Both sides have 60 fractional bits and stay below 2^61.
        lowered = threshold - 2.0**-_COSINE_BITS
        if threshold > 0:
            lowered = max(lowered, 0.0)
        bound = self._times(u, round(lowered**2 * 2**32))
        square = self._product(q, q)
        if threshold > 0:
            far = self._below_zero(self._minus(square, bound), shape)
            zero = self._minus(dot, dot)
            return ~far & self._below_zero(self._minus(zero, dot), shape)
        beyond = self._below_zero(self._minus(bound, square), shape)
        return ~(beyond & self._below_zero(dot, shape))

    def _below_zero(self, a: Ring, shape: tuple[int, ...]) -> Secret:
        return Secret(self, self._negative(a), shape, is_bit=True)

    def pairwise_cosine(self, x: Updates) -> Secret:
        m = x.shape[0]
        self._check_norm_range(x)
        gram = self._gram(x.data)
        root = self._root(self._diagonal(gram))
        row = Root(*(self._expand(part, 1, m) for part in root))
        column = Root(*(self._expand(part, 0, m) for part in root))
        cosine = self._cosine_from(gram, row, column, (m, m))
        off_diagonal = 1 - torch.eye(m, dtype=torch.int64)
        return self._wrap(self._times(cosine.data, off_diagonal), (m, m), cosine.unit, _COSINES)

    def _cosine_from(self, dot: Ring, a: Root, b: Root, shape: tuple[int, ...]) -> Secret:
        """dot / (sqrt(s_a) sqrt(s_b)) = (dot / 2^(e_a + e_b)) y_a y_b.

        |dot| <= 2^(e_a + e_b), so dot 2^(31 - e_a) 2^(31 - e_b) stays within 2^62; the product
        of the first two may wrap, which the last undoes.
        """
        q = self._product(self._product(dot, a.shrink), b.shrink)
        q = self._floor_shift(q, 32)  # 30 fractional bits, |q| <= sqrt(u_a u_b)
        q = self._floor_shift(self._product(q, a.y), 30)
        q = self._floor_shift(self._product(q, b.y), 60 - _COSINE_BITS)
        return self._wrap(q, shape, 2.0**-_COSINE_BITS, _COSINES)

    def clip(
        self, x: Updates, squared_bound: Secret | float, norm_bound: float | None = None
    ) -> Updates:
        x = replace(x, norm_bound=self._longest(x))
        public = clipped_norm_bound(x, squared_bound, norm_bound)
        if not isinstance(squared_bound, Secret) and squared_bound >= x.norm_bound**2:
            return x  # no row can be longer
        least = shortest(x.shape[1], x.unit)
        rule = f"at least {least:.3g} for d = {x.shape[1]} in steps of {x.unit:g}"
        require(public >= least, "a norm bound", rule, public)
        squared = self.squared_norms(x)
        m = x.shape[0]
        if isinstance(squared_bound, Secret):
            bound = squared_bound
        else:
            bound = self._public(squared_bound, squared.unit)
        bound, squared = self._aligned(bound, squared)
        flag = self._bits_to_ring(self.less(bound, squared).data)  # (m,)
        root = self._root(squared.data)
        limit = self._root(bound.data)
        # sqrt(bound / s) = (y sqrt(u_b)) 2^(e_b - e); e_b <= e where s exceeds the bound, and
        # where it does not the factor is replaced before it can wrap.
        root_u = self._floor_shift(self._product(limit.u, limit.y), 28)  # sqrt(u_b), 30 bits
        mantissa = self._floor_shift(self._product(root.y, root_u), 34)  # 26 fractional bits
        scale = self._product(self._product(flag, root.shrink), limit.grow)  # <= 2^31
        shrunk = self._floor_shift(self._product(mantissa, scale), 41)  # 16 fractional bits
        one = 2**FRACTION_BITS
        factor = self._plus(
            shrunk, self._minus(self._constant_like(one, m), self._times(flag, one))
        )
        data = self._scale_rows(x.data, factor, FRACTION_BITS)
        return Updates(data, x.shape, x.unit, public)

    def _order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]:
        values = self._order(x.data, tuple(ranks))
        span = self._coordinates(x)
        return [self._wrap(value, (x.shape[1],), x.unit, span) for value in values]

    def middle(self, x: Updates, trim: int) -> Secret:
        return Secret(self, self._middle(x.data, trim), x.shape, is_bit=True)

    def nearest(self, x: Updates, keep: int) -> Secret:
        return Secret(self, self._nearest(x.data, keep), x.shape, is_bit=True)

    def where(self, mask: Secret, x: Updates, otherwise: Secret | None) -> Updates:
        if otherwise is None:
            return Updates(self._mix(mask.data, x.data, None, 1), x.shape, x.unit)
        unit = min(x.unit, otherwise.unit)
        require(otherwise.unit == unit, "unit of otherwise", "at most that of x", otherwise.unit)
        factor = ratio(x.unit, unit)
        return Updates(self._mix(mask.data, x.data, otherwise.data, factor), x.shape, unit)

    def _weighted_mean(self, x: Updates, weights: torch.Tensor, divisor: float | None) -> Secret:
        integers, shift = apportion(weights)
        total = self._weigh(x.data, torch.tensor(integers))
        shape = (x.shape[1],)
        if shift:  # rounded down to a coarser step before it leaves (`_reveal`)
            require(divisor is None, "divisor", "None for weights that differ", divisor)
            return self._wrap(total, shape, x.unit / 2**shift, self._coordinates(x))
        count = sum(integers) if divisor is None else divisor
        span = self._coordinates(x).scaled(sum(integers) / count)
        return Secret(self, total, shape, x.unit / count, step=x.unit, span=span)

    # --- small arrays ---

    def _public(self, value: float, unit: float) -> Secret:
        span = within(point(value), unit, "a public number")
        return self._wrap(self._constant_like(round(value / unit), 1), (1,), unit, span)

    def _aligned(self, a: Secret, b: Secret | float) -> tuple[Secret, Secret]:
        other = b if isinstance(b, Secret) else self._public(b, a.unit)
        unit = min(a.unit, other.unit)
        return self._finer(a, unit), self._finer(other, unit)

    def _finer(self, a: Secret, unit: float) -> Secret:
        span = within(a.span, unit, "a number beside a finer one")
        return self._wrap(self._times(a.data, ratio(a.unit, unit)), a.shape, unit, span)

    def _add(self, a: Secret, b: Secret | float) -> Secret:
        left, right = self._aligned(a, b)
        shape = np.broadcast_shapes(left.shape, right.shape)
        span = within(left.span.plus(right.span), left.unit, "a sum")
        return self._wrap(self._plus(left.data, right.data), tuple(shape), left.unit, span)

    def _subtract(self, a: Secret, b: Secret | float) -> Secret:
        left, right = self._aligned(a, b)
        shape = np.broadcast_shapes(left.shape, right.shape)
        span = within(left.span.minus(right.span), left.unit, "a difference")
        return self._wrap(self._minus(left.data, right.data), tuple(shape), left.unit, span)

    def _multiply(self, a: Secret, b: Secret | float) -> Secret:
        if isinstance(b, Secret):
            factor = self._bits_to_ring(b.data) if b.is_bit else b.data
            shape = tuple(np.broadcast_shapes(a.shape, b.shape))
            span = a.span.or_zero() if b.is_bit else a.span.times(b.span)
            if not b.is_bit:
                within(span, a.unit * b.unit, "a product")
            product = self._product(a.data, factor)
            if not b.is_bit:
                product = self._floor_shift(product, log2_steps(b.unit))
            return self._wrap(product, shape, a.unit, span)
        rounded = Fraction(round(b * 2**FRACTION_BITS), 2**FRACTION_BITS)  # in lowest terms
        span = a.span.scaled(float(rounded))
        within(a.span.scaled(rounded.numerator), a.unit, f"a product with the public {b:g}")
        scaled = self._times(a.data, rounded.numerator)
        if rounded.denominator > 1:
            scaled = self._floor_shift(scaled, rounded.denominator.bit_length() - 1)
        return self._wrap(scaled, a.shape, a.unit, span)

    def _less(self, a: Secret, b: Secret | float) -> Secret:
        if not isinstance(b, Secret):
            # Beyond what a can be, the outcome is the same as at its end.
            slack = a.unit + a.span.size * 2.0**-40
            b = min(max(b, a.span.low - slack), a.span.high + slack)
        difference = self.subtract(a, b)
        return self._below_zero(difference.data, difference.shape)

    def _both(self, a: Secret, b: Secret) -> Secret:
        return Secret(self, self._and(a.data, b.data), a.shape, is_bit=True)

    def _invert(self, a: Secret) -> Secret:
        return Secret(self, self._not(a.data), a.shape, is_bit=True)

    def _total(self, a: Secret) -> Secret:
        span = within(a.span.scaled(a.shape[-1]), a.unit, "a sum")
        return self._wrap(self._sum_last(a.data), a.shape[:-1], a.unit, span)

    def _ranked(self, a: Secret, ranks: Sequence[int]) -> list[Secret]:
        values = self._kth(a.data, tuple(ranks))
        return [self._wrap(value, (1,), a.unit, a.span) for value in values]

    def _rescaled(self, a: Secret, factor: float) -> Secret:
        return self._wrap(a.data, a.shape, a.unit * factor, a.span.scaled(factor))

    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        unit = permit.opening.unit
        if secret.is_bit or unit is None:
            return self._open_bits(secret.data, secret.shape, permit)
        data, step = secret.data, secret.step or secret.unit
        if step < unit:
            data = self._round_down(data, math.ceil(math.log2(unit / step)))
        return self._open_ring(data, permit).to(torch.float64) * secret.unit

    def _normal(self, squared: Ring) -> Normal:
        """Normalize s in [0, 2^62)."""
        steps = self._thermometer(squared)  # (..., 31): [s >= 4^(e-1)] for e = 1..31
        exponent = torch.arange(1, _PAIRS + 1)
        # One-hot of e is the difference of neighbours; fold it into the weights instead.
        shrink = self._weigh_last(steps, differences(2 ** (_PAIRS - exponent)))
        grow = self._weigh_last(steps, differences(2**exponent))
        square = self._weigh_last(steps, differences(4 ** (_PAIRS - exponent)))
        u = self._floor_shift(self._product(squared, square), 34)  # s 4^(31-e): 62 -> 28 bits
        return Normal(shrink, grow, u)

    def _root(self, squared: Ring) -> Root:
        """Normalize s in [0, 2^62) and find 1/sqrt(u) by Newton's iteration.

        y <- y (3 - u y^2) / 2 from y0 = 2.16 - 1.25 u, whose relative error is at most 0.1;
        each step leaves 1.5 times the square of the error before.
        """
        shrink, grow, u = self._normal(squared)
        y = self._minus(self._constant_as(u, round(2.16 * 2**30)), self._times(u, 5))
        for _ in range(_NEWTON_STEPS):
            square_y = self._floor_shift(self._product(y, y), 30)
            t = self._floor_shift(self._product(square_y, u), 28)
            y = self._product(y, self._minus(self._constant_as(t, 3 << 30), t))
            y = self._floor_shift(y, 31)
        return Root(shrink, grow, u, y)
