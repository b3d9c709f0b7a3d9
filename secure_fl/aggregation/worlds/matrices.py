"""Rows of updates in fixed point: matrices of integers (m, d) of a public width."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from secure_fl.aggregation.ops import (
    FRACTION_BITS,
    Secret,
    Updates,
    clipped_norm_bound,
    exact_length,
    largest_norm_bound,
)
from secure_fl.aggregation.ranges import WIDTHLESS_BITS, Span, shortest
from secure_fl.aggregation.secret import joined_rows, paired_rows
from secure_fl.aggregation.weights import apportion
from secure_fl.aggregation.worlds.constants import (
    extra_bits,
    is_power_of_two,
    ratio,
)
from secure_fl.aggregation.worlds.integer_ring import Matrix, Numbers
from secure_fl.aggregation.worlds.numbers import FixedNumbers
from secure_fl.aggregation.worlds.roots import (
    in_two,
    inverse_root,
    public_root,
)
from secure_fl.errors import InputError, require

_FEWEST_WEIGHT_BITS = 12  # of weights that are rounded so that what they combine fits


class Scaled:
    """Rows times factors that are put off: who only sums the rows weighs them by the factors.

    Attributes:
        matrix: the rows, (m, d).
        factors: (m,), at 16 fractional bits, in [0, 1].
        settled: the products, rounded down; None until somebody needs them.
    """

    def __init__(self, matrix: Matrix, factors: Numbers) -> None:
        self.matrix = matrix
        self.factors = factors
        self.settled: Matrix | None = None


class FixedMatrices(FixedNumbers):
    """`UpdateOps` over integers modulo 2^64."""

    def settled(self, x: Updates) -> Matrix:
        """Return the rows, multiplied by the factors that were put off."""
        data = x.data
        if not isinstance(data, Scaled):
            return data
        if data.settled is None:
            data.settled = self.ring.scale_rows(data.matrix, data.factors, FRACTION_BITS)
            data.matrix = data.factors = None  # gone from memory
        return data.settled

    def _width(self, x: Updates) -> int:
        """Bits of a coordinate, sign included; factors that were put off change nothing in it."""
        scaled = isinstance(x.data, Scaled)
        return self.ring.width(x.data.settled or x.data.matrix if scaled else x.data)

    def _coordinates(self, x: Updates) -> Span:
        """Range of a coordinate; of rows without a width, that of what may be submitted."""
        largest = 2.0 ** (min(self._width(x), WIDTHLESS_BITS) - 1) * x.unit
        return Span(-largest, largest)

    def _longest(self, x: Updates) -> float:
        """A public bound on the rows' norms: what is known of them, or by their width."""
        by_width = math.sqrt(x.shape[1]) * 2.0 ** (self._width(x) - 1) * x.unit
        return min(x.norm_bound, by_width)

    # --- updates ---

    def _kept(self, x: Updates, indices: list[int]) -> Updates:
        data = self.ring.rows(self.settled(x), indices)
        return replace(x, data=data, shape=(len(indices), x.shape[1]))

    def _row(self, x: Updates, index: int) -> Secret:
        data = self.ring.row(self.settled(x), index)
        return self._wrap(data, x.shape[1:], x.unit, self._coordinates(x))

    def _columns(self, x: Updates, indices: list[int]) -> Updates:
        data = self.ring.columns(self.settled(x), indices)
        return replace(x, data=data, shape=(x.shape[0], len(indices)))

    def join(self, parts: Sequence[Updates]) -> Updates:
        unit = min(part.unit for part in parts)
        data = self.ring.join([self.settled(self._in_steps(part, unit)) for part in parts])
        rows = sum(part.shape[0] for part in parts)
        shape = rows, parts[0].shape[1]
        return Updates(data, shape, unit, largest_norm_bound(parts), *joined_rows(parts))

    def accumulate(self, total: Updates | None, x: Updates) -> Updates:
        if total is None:
            return x
        unit = min(total.unit, x.unit)
        total, x = self._in_steps(total, unit), self._in_steps(x, unit)
        bound = total.norm_bound + x.norm_bound
        bits = max(self._width(total), self._width(x)) + 1
        if math.isfinite(bound):
            bits = min(bits, math.ceil(math.log2(bound / x.unit)) + 2)
        data = self.ring.add_rows(self.settled(total), self.settled(x), bits)
        return Updates(data, x.shape, x.unit, bound, *paired_rows(total, x))

    def _difference_of_rows(self, x: Updates, y: Updates) -> Updates:
        unit = min(x.unit, y.unit)
        x, y = self._in_steps(x, unit), self._in_steps(y, unit)
        bits = max(self._width(x), self._width(y)) + 1
        require(bits < 64, "bits of differences of rows", "at most 63", bits)
        data = self.ring.subtract_rows(self.settled(x), self.settled(y), bits)
        return Updates(data, x.shape, unit, x.norm_bound + y.norm_bound)

    def _group_means(self, x: Updates, groups: list[list[int]]) -> Updates:
        """Floors of sums weighed by whole parts of a power of two, as even as can be."""
        sizes = {len(group) for group in groups}
        even = all(size & (size - 1) == 0 for size in sizes)
        drop = max(sizes).bit_length() - 1 if even else FRACTION_BITS
        weights = torch.zeros((len(groups), x.shape[0]), dtype=torch.int64)
        for k, group in enumerate(groups):
            whole, left = divmod(1 << drop, len(group))
            for place, row in enumerate(sorted(group)):
                weights[k, row] = whole + (place < left)
        require(self._width(x) + drop < 64, "bits of rows to group", "below 48", self._width(x))
        data = self.ring.average_rows(self.settled(x), weights, drop)
        bound = x.norm_bound + math.sqrt(x.shape[1]) * x.unit
        return Updates(data, (len(groups), x.shape[1]), x.unit, bound)

    def _shift(self, x: Updates, by: torch.Tensor | Secret) -> Updates:
        if isinstance(by, Secret):
            unit = min(x.unit, by.unit)
            x, by = self._in_steps(x, unit), self._in_unit(by, unit)
            vector, length = by.data, math.sqrt(x.shape[1]) * by.span.size
            steps = by.span.size / unit
        else:
            vector, length = torch.round(by.to(torch.float64) / x.unit), exact_length(by)
            steps = float(vector.abs().max())
            require(steps < 2.0**62, "shift", f"below 2^62 steps of {x.unit:g}", steps * x.unit)
            vector = vector.to(torch.int64)
        bits = 1 + math.floor(math.log2(2.0 ** (self._width(x) - 1) + steps) + 1)
        require(bits < 64, "bits of shifted rows", "at most 63", bits)
        bound = x.norm_bound + length + x.unit * math.sqrt(x.shape[1])
        return replace(x, data=self.ring.shift(self.settled(x), vector, bits), norm_bound=bound)

    def _combine(
        self, x: Updates, weights: Secret, count: int, most: float | None, rounded: bool
    ) -> Updates:
        w = self._number(weights)
        total = x.shape[0] * w.span.size if most is None else most
        put_off = isinstance(x.data, Scaled) and x.data.settled is None
        unit = w.unit / 2**FRACTION_BITS if put_off else w.unit
        bits = self._width(x) + math.ceil(math.log2(max(total / unit, 1.0)))
        data = self.ring.reshaped(w.data, (count, x.shape[0]))
        if put_off:
            data = self.ring.product(data, self.ring.reshaped(x.data.factors, (1, x.shape[0])))
        if bits > 63:  # fewer bits of the weights
            kept = math.log2(max(total / unit, 1.0)) - (bits - 63)
            rule = f"small enough for weights of {_FEWEST_WEIGHT_BITS} bits"
            require(kept >= _FEWEST_WEIGHT_BITS, "bits of rows to combine", rule, self._width(x))
            data, unit, bits = self.ring.floor_shift(data, bits - 63), unit * 2.0 ** (bits - 63), 63
        rows = x.data.matrix if put_off else self.settled(x)
        bound = (total + x.shape[0] * unit) * self._longest(x)
        drop = max(-round(math.log2(unit)), 0) if rounded else 0
        require(not drop or is_power_of_two(unit), "unit of weights to round", "2^k", unit)
        matrix = self.ring.combine(rows, data, bits - drop, drop)
        unit = x.unit * unit * 2.0**drop
        bound += unit * math.sqrt(x.shape[1]) if drop else 0.0
        return Updates(matrix, (count, x.shape[1]), unit, bound)

    def _in_steps(self, x: Updates, unit: float) -> Updates:
        """The same rows in steps of a finer unit, exactly."""
        factor = ratio(x.unit, unit)
        if factor == 1:
            return x
        bits = self._width(x) + extra_bits(factor)
        require(bits < 64, "bits of rows in finer steps", "at most 63", bits)
        return replace(x, data=self.ring.finer_rows(self.settled(x), factor), unit=unit)

    def _check_norm_range(self, x: Updates, rows: int = 1, unit: float | None = None) -> None:
        """Squared norms stay below 2^61: by the coordinates' width, or by the rows' norm.

        One bit is left for a bound of half the unit (the mean of two norms). With `rows` = m, the
        same for a vector whose coordinates lie between those of m rows, in steps of `unit`: its
        square is at most the sum of theirs.
        """
        scale = 1.0 if unit is None else (x.unit / unit) ** 2
        by_width = x.shape[1] * 4.0 ** (self._width(x) - 1) * scale
        by_norm = rows * (x.norm_bound / x.unit) ** 2 * scale
        if min(by_width, by_norm) > 2.0**61:
            known = "" if math.isinf(x.norm_bound) else f" and norms up to {x.norm_bound:g}"
            bits = self._width(x)
            raise InputError(
                f"d must be at most 2^61 / 4^(bits - 1) for norms to fit the ring; got "
                f"d={x.shape[1]} with {bits}-bit values{known}: lower max_abs, or "
                "clip first, to a lower norm"
            )

    def squared_norms(self, x: Updates) -> Secret:
        self._check_norm_range(x)
        span = Span(0.0, self._longest(x) ** 2)
        return self._wrap(self.ring.squared_norms(self.settled(x)), (x.shape[0],), x.unit**2, span)

    def gram(self, x: Updates) -> Secret:
        self._check_norm_range(x)
        largest = self._longest(x) ** 2
        data = self.ring.gram(self.settled(x))
        return self._wrap(data, (x.shape[0],) * 2, x.unit**2, Span(-largest, largest))

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
        ring = self.ring
        # sqrt(bound / s) = (y sqrt(u_b)) 2^(e_b - e); e_b <= e where s exceeds the bound, and
        # where it does not the factor is replaced before it can wrap.
        if isinstance(squared_bound, Secret):
            bound, squared = self._aligned(squared_bound, squared)
            flag = ring.bits_to_ring(self.less(bound, squared).data)  # (m,)
            # Both roots in the rounds of one.
            both = inverse_root(ring, ring.joined([squared.data, bound.data]))
            root, limit = in_two(ring, both, m, 1)
            root_u = ring.floor_shift(ring.product(limit.u, limit.y), 28)  # sqrt(u_b), 30 bits
            mantissa = ring.product(root.y, root_u)
            scale = ring.product(ring.product(flag, root.shrink), limit.grow)
        else:
            public_bound = self._public(squared_bound, squared.unit)
            flag = ring.bits_to_ring(self.less(public_bound, squared).data)
            root = inverse_root(ring, squared.data)
            known = public_root(round(squared_bound / squared.unit))
            mantissa = ring.times(root.y, known.root)
            scale = ring.times(ring.product(flag, root.shrink), known.grow)
        mantissa = ring.floor_shift(mantissa, 34)  # 26 fractional bits
        shrunk = ring.floor_shift(ring.product(mantissa, scale), 41)  # scale <= 2^31; 16 bits
        one = 2**FRACTION_BITS
        factor = self.ring.plus(
            shrunk, self.ring.minus(self.ring.constant(one, m), self.ring.times(flag, one))
        )
        return replace(x, data=Scaled(self.settled(x), factor), norm_bound=public)

    def _order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]:
        values = self.ring.order(self.settled(x), tuple(ranks))
        span = self._coordinates(x)
        return [self._wrap(value, (x.shape[1],), x.unit, span) for value in values]

    def _weighted_order(self, x: Updates, copies: list[int], ranks: list[int]) -> list[Secret]:
        values = self.ring.weighted_order(self.settled(x), tuple(copies), tuple(ranks))
        span = self._coordinates(x)
        return [self._wrap(value, (x.shape[1],), x.unit, span) for value in values]

    def trimmed_mask(self, x: Updates, trim: int) -> Secret:
        return Secret(self, self.ring.trimmed_mask(self.settled(x), trim), x.shape, is_bit=True)

    def _nearest(self, x: Updates, keep: int) -> Secret:
        return Secret(self, self.ring.nearest(self.settled(x), keep), x.shape, is_bit=True)

    def _nearest_zero(self, x: Updates, keep: int) -> Secret:
        return Secret(self, self.ring.nearest_zero(self.settled(x), keep), x.shape, is_bit=True)

    def signs(self, x: Updates) -> Secret:
        return Secret(self, self.ring.signs(self.settled(x)), x.shape, is_bit=True)

    def _count_at_least(self, bits: Secret, count: int) -> Secret:
        found = self.ring.count_at_least(bits.data, count)
        return Secret(self, found, bits.shape[1:], is_bit=True)

    def _differ(self, bits: Secret, other: Secret) -> Secret:
        data = self.ring.differ(bits.data, other.data)
        return Secret(self, data, bits.shape, is_bit=True)

    def where(self, mask: Secret, x: Updates, otherwise: Secret | None) -> Updates:
        if otherwise is None:
            return replace(x, data=self.ring.mix(mask.data, self.settled(x), None, 1))
        unit = min(x.unit, otherwise.unit)
        require(otherwise.unit == unit, "unit of otherwise", "at most that of x", otherwise.unit)
        factor = ratio(x.unit, unit)
        mixed = self.ring.mix(mask.data, self.settled(x), otherwise.data, factor)
        return Updates(mixed, x.shape, unit, rows=x.rows, disjoint=x.disjoint)

    def _weighted_mean(self, x: Updates, weights: torch.Tensor, divisor: float | None) -> Secret:
        integers, shift = apportion(weights)
        require(not shift or divisor is None, "divisor", "None for weights that differ", divisor)
        total, drop = self._weighed(x, torch.tensor(integers), shift)
        shape, step = (x.shape[1],), x.unit / 2**drop
        if shift:  # rounded down to a coarser step before it leaves (`_reveal`)
            return self._wrap(total, shape, step, self._coordinates(x))
        count = sum(integers) if divisor is None else divisor
        span = self._coordinates(x).scaled(sum(integers) / count)
        return Secret(self, total, shape, step / count, step=step, span=span)

    def _weighed(self, x: Updates, integers: torch.Tensor, shift: int) -> tuple[Numbers, int]:
        """sum_i W_i x_i / 2^shift as integers (d,), with so many more fractional bits than x.

        Rows that are still to be scaled are weighed by the product of both, at 16 bits or those of
        the W_i: one row of d products in the place of m.
        """
        if not isinstance(x.data, Scaled) or x.data.settled is not None:
            return self.ring.weigh(self.settled(x), integers), shift
        factors = self.ring.times(x.data.factors, integers)
        if shift:
            factors = self.ring.floor_shift(factors, FRACTION_BITS)
        drop = shift or FRACTION_BITS
        weights = self.ring.reshaped(factors, (1, x.shape[0]))
        bits = self._width(x) + drop + (0 if shift else extra_bits(x.shape[0]))
        return self.ring.row(self.ring.combine(x.data.matrix, weights, bits, 0), 0), drop
