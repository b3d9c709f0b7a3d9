"""Operations on small secret arrays: scores, distances, bits."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch

from secure_fl.aggregation.ranges import Span, point
from secure_fl.aggregation.secret import Secret, middle_ranks, of_fewest_rows
from secure_fl.errors import require

PRODUCT_BITS = 40
"""Bits that products of secrets keep, unless fewer are wanted."""


class ArrayOps(ABC):
    """What rules do with a number or a bit for each hospital, or for each pair of hospitals.

    Range: numbers stay below 2^62 steps; what could leave that is rescaled to coarser steps, or
    refused by name where it cannot be. Reveals: nothing, in all of them. Costs are those under MPC,
    in rounds between nodes; where none is named, an operation is local.
    """

    # --- arithmetic ---

    def add(self, a: Secret, b: Secret | float) -> Secret:
        """Return a + b.

        Range: in the finer of both units, or the finest in which the sum fits.
        Reveals: nothing.  Cost: local; some 8 rounds where a summand is rescaled.
        """
        return of_fewest_rows(self._add(a, b), a, b)

    def subtract(self, a: Secret, b: Secret | float) -> Secret:
        """Return a - b.

        Range, Reveals, Cost: as in `add`.
        """
        return of_fewest_rows(self._subtract(a, b), a, b)

    def multiply(
        self,
        a: Secret,
        b: Secret | float,
        most: float | None = None,
        bits: int = PRODUCT_BITS,
    ) -> Secret:
        """Return a * b; b may be a bit.

        Range: a public b has 17 to 30 significant bits. Factors that could leave the ring together
        are rescaled first; of a product `bits` bits are kept, rounded down.
        Reveals: nothing.  Cost: 1 round for a secret b, and some 8 for each rescaling; none for a
        public b of few bits.

        Args:
            most: a public bound on |a b| for a secret b, which the caller knows to be sharper than
                the product of the ranges; the finer steps are then kept.
            bits: of a product of two secrets; of 30 bits each, numbers are multiplied further
                without being rescaled before.
        """
        require(most is None or most > 0, "most", "positive", most)
        require(1 <= bits <= PRODUCT_BITS, "bits", f"from 1 to {PRODUCT_BITS}", bits)
        return of_fewest_rows(self._multiply(a, b, most, bits), a, b)

    def sum(self, a: Secret, axis: int = -1) -> Secret:
        """Sum over an axis; of bits, count those that are set.

        Range: as many times that of a.  Reveals: nothing.  Cost: local.
        """
        require(-len(a.shape) <= axis < len(a.shape), "axis", f"one of {len(a.shape)}", axis)
        return of_fewest_rows(self._sum(a, axis % len(a.shape)), a)

    def take(self, a: Secret, indices: torch.Tensor) -> Secret:
        """Return the numbers at public places of a, laid out row by row, in the shape of `indices`.

        Range: that of a; bits become the numbers 0 and 1.  Reveals: nothing.  Cost: local.

        Args:
            indices: int64, of one or two dimensions.
        """
        size = math.prod(a.shape)
        require(1 <= indices.ndim <= 2, "dimensions of indices", "1 or 2", indices.ndim)
        good = indices.numel() > 0 and int(indices.min()) >= 0 and int(indices.max()) < size
        require(good, "indices", f"some, from 0 to {size - 1}", indices.flatten()[:8].tolist())
        return of_fewest_rows(self._take(a, indices), a)

    def concatenate(self, parts: Sequence[Secret]) -> Secret:
        """Return arrays (m_i,) one after the other, (sum of m_i,), in the finest of their units.

        Range: the widest of theirs.  Reveals: nothing.  Cost: local.
        """
        shapes = [part.shape for part in parts]
        good = bool(shapes) and all(len(shape) == 1 for shape in shapes)
        require(good, "shapes", "some, of one dimension each", shapes)
        return of_fewest_rows(self._concatenate(parts), *parts)

    def diagonal(self, a: Secret) -> Secret:
        """Return the diagonal of a, (m, m) -> (m,).

        Range: that of a.  Reveals: nothing.  Cost: local.
        """
        require(len(a.shape) == 2 and a.shape[0] == a.shape[1], "shape", "(m, m)", a.shape)
        return of_fewest_rows(self._diagonal(a), a)

    def expand(self, a: Secret, axis: int, count: int) -> Secret:
        """Repeat a (m,) along a new axis, to (count, m) for axis 0 or (m, count) for axis 1.

        Range: that of a.  Reveals: nothing.  Cost: local.
        """
        require(len(a.shape) == 1 and axis in (0, 1), "shape and axis", "(m,) and 0 or 1", a.shape)
        require(count >= 1, "count", "at least 1", count)
        return of_fewest_rows(self._expand(a, axis, count), a)

    def rounded(self, a: Secret, unit: float) -> Secret:
        """Return a rounded down to steps of `unit`, a power of two, where its own are finer.

        With fewer bits more fits beside it: weights of `combine`, say. The plain backend, which
        has no steps, leaves a as it is.

        Range: that of a.  Reveals: nothing.  Cost: some 8 rounds.
        """
        require(math.frexp(unit)[0] == 0.5, "unit", "a power of two", unit)
        return of_fewest_rows(self._rounded_to(a, unit), a)

    def inverse_root(self, a: Secret, floor: float) -> Secret:
        """Return 1 / sqrt(max(a, floor)).

        Range: up to 1 / sqrt(floor), of which a result has 30 bits; relative error 2^-22 and half
        of the last bit.
        Reveals: nothing.  Cost: some 130 rounds, as many for an array as for one number.
        """
        require(floor > 0, "floor", "positive", floor)
        return of_fewest_rows(self._inverse_root(a, floor), a)

    def matmul(
        self, a: Secret, b: Secret, most: float | None = None, bits: int = PRODUCT_BITS
    ) -> Secret:
        """Return the matrix product a b of (k, m) with (m, n), or with (m,): (k, n), or (k,).

        Range: as in `multiply`, of m products added up.
        Reveals: nothing.  Cost: 2 rounds, and some 8 for each rescaling; 8 m (k + n) bytes.

        Args:
            most: a public bound on each result.
            bits: of a result, as in `multiply`.
        """
        shapes = a.shape, b.shape
        good = len(a.shape) == 2 and 1 <= len(b.shape) <= 2 and a.shape[1] == b.shape[0]
        require(good, "shapes to multiply", "(k, m) and (m, n) or (m,)", shapes)
        require(most is None or most > 0, "most", "positive", most)
        require(1 <= bits <= PRODUCT_BITS, "bits", f"from 1 to {PRODUCT_BITS}", bits)
        return of_fewest_rows(self._matmul(a, b, most, bits), a, b)

    def normalized(self, a: Secret, size: Secret, floor: float, most: float = 1.0) -> Secret:
        """Return a 4^-e, with the whole e for which 4^(e-1) <= max(size, floor) < 4^e.

        What only ratios of a matter for keeps its bits so, without a root.

        Range: [-most, most].
        Reveals: nothing.  Cost: some 15 rounds, and 8 for each rescaling.

        Args:
            size: a number (1,), at least 0.
            floor: positive; in `fixed` and `mpc` 2^8 steps of size at least.
            most: a public bound on |a| / max(size, floor).
        """
        require(size.shape == (1,), "shape of the size", "(1,)", size.shape)
        require(floor > 0 and most > 0, "floor and most", "positive", (floor, most))
        return of_fewest_rows(self._normalized(a, size, floor, most), a, size)

    # --- comparison ---

    def less(self, a: Secret, b: Secret | float) -> Secret:
        """Return bits [a < b]; a <= b, a > b and a >= b are made of it.

        Range: a public b beyond what a can be counts as at its end.
        Reveals: nothing.  Cost: some 8 rounds, whatever the size.
        """
        return self.less_each((a, b))[0]

    def less_each(self, *pairs: tuple[Secret, Secret | float]) -> list[Secret]:
        """Return bits [a < b] of each pair (a, b).

        Range: as in `less`.  Reveals: nothing.  Cost: pairs of one size share the rounds of one.
        """
        found = self._less_each(pairs)
        return [of_fewest_rows(bits, *pair) for bits, pair in zip(found, pairs, strict=True)]

    def both(self, a: Secret, b: Secret) -> Secret:
        """Return bits a and b, of one shape.

        Range: bits.  Reveals: nothing.  Cost: 1 round.
        """
        require(a.is_bit and b.is_bit, "operands of & and |", "bits", (a.is_bit, b.is_bit))
        require(a.shape == b.shape, "shapes of bits", "equal", (a.shape, b.shape))
        return of_fewest_rows(self._both(a, b), a, b)

    def invert(self, a: Secret) -> Secret:
        """Return bits not a.

        Range: bits.  Reveals: nothing.  Cost: local.
        """
        require(a.is_bit, "operand of ~", "bits", a.is_bit)
        return of_fewest_rows(self._invert(a), a)

    def kth_values(self, a: Secret, ranks: Sequence[int]) -> list[Secret]:
        """Return for each rank k the k-th smallest element of a (m,), shape (1,).

        Range: that of a.  Reveals: nothing.  Cost: some 20 rounds, m^2 comparisons.
        """
        return [of_fewest_rows(value, a) for value in self._kth_values(a, ranks)]

    def places(self, a: Secret, ranks: Sequence[int]) -> Secret:
        """Return bits [a_i is the k-th smallest] of a (m,) for each 0-based rank k, (K, m).

        Of equal numbers the earlier ones are smaller: exactly one bit a row is set.

        Range: that of a, times 2.  Reveals: nothing.  Cost: some 20 rounds, m^2 comparisons.
        """
        require(len(a.shape) == 1, "shape", "(m,)", a.shape)
        good = bool(ranks) and all(0 <= k < a.shape[0] for k in ranks)
        require(good, "ranks", f"some, from 0 to {a.shape[0] - 1}", list(ranks))
        return of_fewest_rows(self._places(a, ranks), a)

    def smallest(self, a: Secret, count: int) -> Secret:
        """Return bits: among the `count` smallest of their row, of a (c,) or (m, c).

        Of equal numbers the earlier ones are smaller: exactly `count` bits a row are set.

        Range: that of a, times 2; m c^2 differences take 16 bytes each.
        Reveals: nothing.  Cost: some 20 rounds, m c^2 comparisons.
        """
        require(1 <= len(a.shape) <= 2, "shape", "(c,) or (m, c)", a.shape)
        require(1 <= count <= a.shape[-1], "count", f"from 1 to {a.shape[-1]}", count)
        return of_fewest_rows(self._smallest(a, count), a)

    # --- made of these, the same for every backend ---

    def median_of(self, a: Secret) -> Secret:
        """Return the median of a small array (m,) -> (1,).

        Range, Reveals, Cost: as in `kth_values`.
        """
        return self.mean_of(self.kth_values(a, middle_ranks(a.shape[0])))

    def mean_of(self, values: Sequence[Secret]) -> Secret:
        """Return the mean of one or two secrets, exactly.

        Range: theirs.  Reveals: nothing.  Cost: local.
        """
        if len(values) == 1:
            return values[0]
        total = values[0] + values[1]
        # Half the unit instead of half the integer: exact. The sum is what leaves.
        return replace(self._scaled(total, 0.5), step=total.unit)

    def divide(self, a: Secret, count: int) -> Secret:
        """Return a / count for a public whole count, exactly: divided in public once it is opened.

        Range: that of a.  Reveals: nothing.  Cost: local.
        """
        require(1 <= count < 2**20, "count", "from 1 to 2^20", count)
        return replace(self._scaled(a, 1 / count), step=a.step or a.unit)

    def absolute(self, a: Secret) -> Secret:
        """Return |a|: a - 2 a [a < 0].

        Range: that of a.  Reveals: nothing.  Cost: a comparison and a product, some 9 rounds.
        """
        result = a - self._scaled(self.multiply(a, a < 0.0), 2.0)
        return replace(result, span=Span(0.0, a.span.size))

    def maximum(self, a: Secret, b: Secret | float) -> Secret:
        """Return the larger of a and b: a + (b - a) [a < b].

        Range: theirs; nothing is computed for a public b below what a can be.
        Reveals: nothing.  Cost: a comparison and a product, some 9 rounds.
        """
        spans = a.span, b.span if isinstance(b, Secret) else point(b)
        if spans[0].low >= spans[1].high:
            return a
        difference = self.subtract(a, b)
        result = a - self.multiply(difference, difference < 0.0)
        span = Span(max(s.low for s in spans), max(s.high for s in spans))
        return replace(result, span=span)

    def minimum(self, a: Secret, b: Secret | float) -> Secret:
        """Return the smaller of a and b: a + (b - a) [b < a].

        Range: theirs; nothing is computed for a b above what a can be.
        Reveals: nothing.  Cost: a comparison and a product, some 9 rounds.
        """
        spans = a.span, b.span if isinstance(b, Secret) else point(b)
        if spans[0].high <= spans[1].low:
            return a
        difference = self.subtract(a, b)
        result = a - self.multiply(difference, ~(difference < 0.0))
        span = Span(min(s.low for s in spans), min(s.high for s in spans))
        return replace(result, span=span)

    def _scaled(self, a: Secret, factor: float) -> Secret:
        """Return a * factor for a power of two, exactly."""
        return of_fewest_rows(self._rescaled(a, factor), a)

    # --- what a backend does ---

    @abstractmethod
    def _add(self, a: Secret, b: Secret | float) -> Secret: ...

    @abstractmethod
    def _subtract(self, a: Secret, b: Secret | float) -> Secret: ...

    @abstractmethod
    def _multiply(self, a: Secret, b: Secret | float, most: float | None, bits: int) -> Secret: ...

    @abstractmethod
    def _sum(self, a: Secret, axis: int) -> Secret: ...

    @abstractmethod
    def _take(self, a: Secret, indices: torch.Tensor) -> Secret: ...

    @abstractmethod
    def _concatenate(self, parts: Sequence[Secret]) -> Secret: ...

    @abstractmethod
    def _diagonal(self, a: Secret) -> Secret: ...

    @abstractmethod
    def _expand(self, a: Secret, axis: int, count: int) -> Secret: ...

    @abstractmethod
    def _rounded_to(self, a: Secret, unit: float) -> Secret: ...

    @abstractmethod
    def _inverse_root(self, a: Secret, floor: float) -> Secret: ...

    @abstractmethod
    def _matmul(self, a: Secret, b: Secret, most: float | None, bits: int) -> Secret: ...

    @abstractmethod
    def _normalized(self, a: Secret, size: Secret, floor: float, most: float) -> Secret: ...

    @abstractmethod
    def _less_each(self, pairs: Sequence[tuple[Secret, Secret | float]]) -> list[Secret]: ...

    @abstractmethod
    def _both(self, a: Secret, b: Secret) -> Secret: ...

    @abstractmethod
    def _invert(self, a: Secret) -> Secret: ...

    @abstractmethod
    def _kth_values(self, a: Secret, ranks: Sequence[int]) -> list[Secret]: ...

    @abstractmethod
    def _places(self, a: Secret, ranks: Sequence[int]) -> Secret: ...

    @abstractmethod
    def _smallest(self, a: Secret, count: int) -> Secret: ...

    @abstractmethod
    def _rescaled(self, a: Secret, factor: float) -> Secret: ...
