"""Operations on the updates of hospitals: whole rows of d numbers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

import torch

from secure_fl.aggregation.array_ops import ArrayOps
from secure_fl.aggregation.secret import Secret, Updates, middle_ranks, paired_rows
from secure_fl.aggregation.weights import median_rows, real_rows, whole_copies
from secure_fl.errors import require


class UpdateOps(ArrayOps, ABC):
    """What rules do with rows (m, d).

    Costs are those under MPC for one node of k = 2, in bytes a coordinate online, b bits a
    coordinate. Most need the rows' bits (4.5 m b / 18 bytes, b rounds) or the rows under a mask
    (8 m bytes, 1 round), each found once for all operations on the same rows.
    """

    # --- rows ---

    def rows(self, x: Updates, indices: Sequence[int]) -> Updates:
        """Keep the rows with these public indices, each once.

        Range: that of x.  Reveals: nothing.  Cost: local; a mask is not carried over.

        Raises:
            InputError: an index is given twice, so that rows would seem more than they are.
        """
        require(len(set(indices)) == len(indices), "indices of rows", "distinct", list(indices))
        return self._kept(x, list(indices))

    def row(self, x: Updates, index: int) -> Secret:
        """Return the row with this public index, (d,).

        Range: that of x.  Reveals: nothing.  Cost: local, once rows are lifted to the ring.
        """
        require(0 <= index < x.shape[0], "index", f"from 0 to {x.shape[0] - 1}", index)
        return replace(self._row(x, index), rows=x.hospitals(1))

    def columns(self, x: Updates, indices: Sequence[int]) -> Updates:
        """Keep the coordinates with these public indices, in this order: (m, len(indices)).

        Range: that of x.  Reveals: nothing.  Cost: local.
        """
        d, chosen = x.shape[1], list(indices)
        good = bool(chosen) and all(0 <= index < d for index in chosen)
        require(good, "indices of columns", f"some, from 0 to {d - 1}", chosen[:8])
        return self._columns(x, chosen)

    @abstractmethod
    def join(self, parts: Sequence[Updates]) -> Updates:
        """Stack the rows of several updates; integers are brought to the finest unit, exactly.

        Range: the widest of theirs.  Reveals: nothing.  Cost: local, once lifted.
        """

    @abstractmethod
    def accumulate(self, total: Updates | None, x: Updates) -> Updates:
        """Return total + x, row by row, in the finer unit; None counts as zero.

        Range: the sum of theirs.  Reveals: nothing.  Cost: local, once lifted.
        """

    def difference(self, x: Updates, y: Updates) -> Updates:
        """Return x - y, row by row, in the finer unit.

        Range: the sum of theirs.  Reveals: nothing.  Cost: local, once lifted.
        """
        require(x.shape == y.shape, "shapes", "equal", (x.shape, y.shape))
        rows, disjoint = paired_rows(x, y)
        return replace(self._difference_of_rows(x, y), rows=rows, disjoint=disjoint)

    def shift(self, x: Updates, by: torch.Tensor | Secret) -> Updates:
        """Return x_i + by, for a public or secret vector (d,).

        Range: the sum of theirs; a public vector is rounded to steps of x.
        Reveals: nothing.  Cost: local, once lifted.
        """
        require(tuple(by.shape) == x.shape[1:], "shape of the shift", f"{x.shape[1:]}", by.shape)
        if not isinstance(by, Secret):
            finite = bool(by.isfinite().all())
            require(finite, "shift", "of finite numbers", "NaN or infinity")
        return self._shift(x, by)

    def combine(
        self,
        x: Updates,
        weights: Secret,
        rows: int = 1,
        most: float | None = None,
        rounded: bool = False,
    ) -> Updates:
        """Return sum_j w_ij x_j, (k, d), for secret weights or bits (k, m); (m,) counts as (1, m).

        Range: exact, in steps of the product of both units, or of x; within `most` times the range
        of x.
        Reveals: nothing.  Cost: x under a mask, then 8 k m bytes; the dealer corrects 8 k d.

        Args:
            rows: how many rows have real weight in each of the sums, which the caller knows; too
                few of them are not opened.
            most: a public bound on sum_j |w_ij| that is sharper than m times the weights' range.
            rounded: round down to the steps of x, so that norms and products of the sums fit;
                costs their bits, once somebody needs them.
        """
        shape = weights.shape if len(weights.shape) == 2 else (1, *weights.shape)
        rule = f"(k, {x.shape[0]})"
        require(len(shape) == 2 and shape[1] == x.shape[0], "shape of weights", rule, weights.shape)
        require(1 <= rows <= x.shape[0], "rows", f"from 1 to {x.shape[0]}", rows)
        require(most is None or most > 0, "most", "positive", most)
        # A sum of one row is made of what that row was made of; of rows that share hospitals a sum
        # of several may be made of fewer.
        alone = x.disjoint or rows == 1
        count = x.hospitals(rows) if alone else min(rows, x.hospitals(rows))
        made = self._combine(x, weights, shape[0], most, rounded)
        return replace(made, rows=count, disjoint=shape[0] == 1)

    def group_means(self, x: Updates, groups: Sequence[Sequence[int]]) -> Updates:
        """Return the mean of each group of rows, (g, d), for disjoint public groups of indices.

        Range: that of x, rounded down to its steps; of equal rows exactly those.
        Reveals: nothing.  Cost: local, once lifted; their bits take up to 16 rounds more.
        """
        taken = [row for group in groups for row in group]
        good = all(len(group) > 0 for group in groups) and len(set(taken)) == len(taken)
        good = good and bool(taken) and all(0 <= row < x.shape[0] for row in taken)
        rule = f"not empty, disjoint, of rows below {x.shape[0]}"
        require(good, "groups of rows", rule, [list(group) for group in groups])
        made = self._group_means(x, [list(group) for group in groups])
        rows = x.hospitals(min(len(group) for group in groups))
        return replace(made, rows=rows, disjoint=x.disjoint)

    # --- products ---

    @abstractmethod
    def squared_norms(self, x: Updates) -> Secret:
        """Return ||x_i||^2, (m,), without intermediate truncation.

        Range: below 2^61 steps of the squared unit, or refused.
        Reveals: nothing.  Cost: x under a mask, then local; the dealer corrects 8 m bytes in all.
        """

    @abstractmethod
    def gram(self, x: Updates) -> Secret:
        """Return x_i . x_j, (m, m), without intermediate truncation.

        Range: by Cauchy and Schwarz, that of `squared_norms`.
        Reveals: nothing.  Cost: as `squared_norms`, 8 m^2 bytes in all.
        """

    def distances_to(self, x: Updates, index: int) -> Secret:
        """Return ||x_i - x_index||^2, (m,), exactly: 0 at the public index itself.

        Range, Reveals, Cost: as `gram`.
        """
        m = x.shape[0]
        require(0 <= index < m, "index", f"from 0 to {m - 1}", index)
        return self._distances_to(x, index)

    def _distances_to(self, x: Updates, index: int) -> Secret:
        gram, m = self.gram(x), x.shape[0]
        own = self.diagonal(gram)
        dots = self.take(gram, index * m + torch.arange(m))
        return own + self.take(own, torch.tensor([index])) - dots * 2.0

    @abstractmethod
    def cosine(self, x: Updates, reference: torch.Tensor | Secret) -> Secret:
        """Return cos(x_i, reference), (m,), for a public or secret (d,); 0 for zero vectors.

        Range: [-1, 1] at 24 fractional bits, rounded down.
        Reveals: nothing.  Cost: squared norms, a root (some 104 rounds); 8 bytes more for a secret
        reference.
        """

    @abstractmethod
    def pairwise_cosine(self, x: Updates) -> Secret:
        """Return cos(x_i, x_j), (m, m), with zeros on the diagonal.

        Range: as `cosine`.  Reveals: nothing.  Cost: `gram`, a root.
        """

    def cosine_at_least(
        self, x: Updates, reference: torch.Tensor | Secret, threshold: float
    ) -> Secret:
        """Return bits [cos(x_i, reference) >= threshold], (m,), for a public or secret (d,).

        Range: as `squared_norms`.
        Reveals: nothing.  Cost: signs of m numbers for the threshold 0; else squared norms, and no
        root either.
        """
        return self.cosine(x, reference) >= threshold

    @abstractmethod
    def clip(
        self, x: Updates, squared_bound: Secret | float, norm_bound: float | None = None
    ) -> Updates:
        """Scale down each row whose squared norm exceeds the bound to the bound.

        `norm_bound` is a public bound on a secret bound's root, for later range checks.

        Range: at least 4 steps times sqrt(d / 12), so that rounding does not turn rows.
        Reveals: nothing.  Cost: squared norms, a root; then b + 16 rounds and 12 m bytes, but not
        before a stage needs the rows: a mean that follows weighs them instead.
        """

    # --- coordinates ---

    def order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]:
        """Return for each 0-based rank k the k-th smallest of every coordinate, (d,).

        Range: that of x.  Reveals: nothing.  Cost: bits of x, then a selection: docs/protocol.md.
        """
        rows = x.hospitals(x.shape[0])
        return [replace(v, rows=rows) for v in self._order_statistics(x, ranks)]

    def median(self, x: Updates) -> Secret:
        """Coordinate-wise median (d,); the mean of the two middle values for even m.

        Range, Reveals, Cost: as `order_statistics`.
        """
        return self.mean_of(self.order_statistics(x, middle_ranks(x.shape[0])))

    def weighted_median(self, x: Updates, weights: torch.Tensor) -> Secret:
        """Coordinate-wise median (d,) of rows that count for as much as their public weight (m,).

        It is the median of a multiset in which row i stands w_i times (`weights.whole_copies`): the
        value at which half the weight is reached, the mean of two where that is between them.

        Range: that of x; weights at least 0 and not all 0.
        Reveals: nothing.  Cost: as `median`, with a selection that is some 4 times as large.
        """
        copies = whole_copies(weights)
        ranks = sorted(set(middle_ranks(sum(copies))))
        rows = x.hospitals(min(real_rows(weights), median_rows(copies)))
        found = self._weighted_order(x, copies, ranks)
        return replace(self.mean_of(found), rows=rows)

    @abstractmethod
    def trimmed_mask(self, x: Updates, trim: int) -> Secret:
        """Return bits (m, d): not among the `trim` smallest nor largest of their coordinate.

        Ties are broken by the row's index, so exactly m - 2 trim rows remain.

        Range: that of x.  Reveals: nothing.  Cost: bits of x, a selection of two bounds.
        """

    def nearest(self, x: Updates, keep: int, center: torch.Tensor | Secret | None = None) -> Secret:
        """Return bits (m, d): among the `keep` values nearest to the center, the median by default.

        Ties go to values below the center, then by the row's index.

        Range: that of x; with a center, of the difference.
        Reveals: nothing.  Cost: bits of x or of the difference, a selection of one bound.

        Args:
            center: public or secret (d,).
        """
        require(1 <= keep <= x.shape[0], "keep", f"from 1 to {x.shape[0]}", keep)
        if center is None:
            return self._nearest(x, keep)
        away = -center
        return self._nearest_zero(self.shift(x, away), keep)

    @abstractmethod
    def signs(self, x: Updates) -> Secret:
        """Return bits [x_ij < 0], (m, d).

        Range: bits.  Reveals: nothing.  Cost: bits of x, then local.
        """

    def count_at_least(self, bits: Secret, count: int) -> Secret:
        """Return for each coordinate the bit [at least `count` of m bits are set], (m, d) -> (d,).

        Range: bits, as `signs`, `trimmed_mask` and `nearest` return them.
        Reveals: nothing.  Cost: some m ANDs a coordinate, m / 8 bytes; 2 log2(m) rounds and more.
        """
        require(bits.is_bit and len(bits.shape) == 2, "bits", "bits (m, d)", bits.shape)
        require(1 <= count <= bits.shape[0], "count", f"from 1 to {bits.shape[0]}", count)
        return self._count_at_least(bits, count)

    def differ(self, bits: Secret, other: Secret) -> Secret:
        """Return for each row the bits in which it differs from another: (m, d), (d,) -> (m, d).

        Range: bits, as `signs` and `count_at_least` return them.  Reveals: nothing.  Cost: local.
        """
        good = bits.is_bit and other.is_bit and bits.shape[1:] == other.shape
        shapes = (bits.shape, other.shape)
        require(good and len(bits.shape) == 2, "bits to compare", "bits (m, d) and (d,)", shapes)
        return self._differ(bits, other)

    @abstractmethod
    def where(self, mask: Secret, x: Updates, otherwise: Secret | None) -> Updates:
        """Keep x where the mask (m, d) is set, elsewhere take `otherwise` (d,), or 0 for None.

        Range: that of both.  Reveals: nothing.  Cost: x under a mask, then local; the dealer
        corrects 16 m d bytes.
        """

    def weighted_mean(
        self, x: Updates, weights: torch.Tensor, divisor: float | None = None
    ) -> Secret:
        """Return sum_i w_i x_i / sum_i w_i for public weights (m,), at least 0 and not all 0.

        Range: that of x; weights that differ have 24 bits.
        Reveals: nothing.  Cost: local, once lifted; rounded down when it is opened.

        Args:
            divisor: divides in place of the sum of the weights, which are equal then.
        """
        rows = x.hospitals(real_rows(weights))
        return replace(self._weighted_mean(x, weights, divisor), rows=rows)

    def mean_of_middle(self, x: Updates, trim: int) -> Secret:
        """Mean of every coordinate's values but the `trim` smallest and the `trim` largest, (d,).

        Range, Reveals, Cost: as `trimmed_mask`, `where` and `weighted_mean` together.
        """
        rows = x.shape[0]
        require(0 <= 2 * trim < rows, "trim", f"from 0 to {(rows - 1) // 2}", trim)
        mean = self._mean_of_middle(x, trim)
        return replace(mean, rows=rows if x.rows is None else x.rows)

    def mean_of_nearest(
        self, x: Updates, keep: int, center: torch.Tensor | Secret | None = None
    ) -> Secret:
        """Mean of every coordinate's `keep` values nearest to the center, by default the median.

        Range, Reveals, Cost: as `nearest`, `where` and `weighted_mean` together.

        Args:
            center: public or secret (d,).
        """
        rows = x.shape[0]
        require(1 <= keep <= rows, "keep", f"from 1 to {rows}", keep)
        mean = self._mean_of_nearest(x, keep, center)
        return replace(mean, rows=rows if x.rows is None else x.rows)

    def _mean_of_middle(self, x: Updates, trim: int) -> Secret:
        masked = self.where(self.trimmed_mask(x, trim), x, None) if trim else x
        return self._mean_of_kept(masked, x.shape[0] - 2 * trim)

    def _mean_of_nearest(
        self, x: Updates, keep: int, center: torch.Tensor | Secret | None
    ) -> Secret:
        kept = keep == x.shape[0]
        masked = x if kept else self.where(self.nearest(x, keep, center), x, None)
        return self._mean_of_kept(masked, keep)

    def _mean_of_kept(self, x: Updates, count: int) -> Secret:
        """Mean of the `count` values that are left of every coordinate, where others are 0."""
        ones = torch.ones(x.shape[0], dtype=torch.float64)
        return self._weighted_mean(x, ones, count)

    # --- what a backend does ---

    @abstractmethod
    def _kept(self, x: Updates, indices: list[int]) -> Updates: ...

    @abstractmethod
    def _row(self, x: Updates, index: int) -> Secret: ...

    @abstractmethod
    def _columns(self, x: Updates, indices: list[int]) -> Updates: ...

    @abstractmethod
    def _shift(self, x: Updates, by: torch.Tensor | Secret) -> Updates: ...

    @abstractmethod
    def _difference_of_rows(self, x: Updates, y: Updates) -> Updates: ...

    @abstractmethod
    def _group_means(self, x: Updates, groups: list[list[int]]) -> Updates: ...

    @abstractmethod
    def _combine(
        self, x: Updates, weights: Secret, count: int, most: float | None, rounded: bool
    ) -> Updates: ...

    @abstractmethod
    def _order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]: ...

    @abstractmethod
    def _nearest(self, x: Updates, keep: int) -> Secret: ...

    @abstractmethod
    def _nearest_zero(self, x: Updates, keep: int) -> Secret: ...

    @abstractmethod
    def _count_at_least(self, bits: Secret, count: int) -> Secret: ...

    @abstractmethod
    def _differ(self, bits: Secret, other: Secret) -> Secret: ...

    @abstractmethod
    def _weighted_order(self, x: Updates, copies: list[int], ranks: list[int]) -> list[Secret]: ...

    @abstractmethod
    def _weighted_mean(
        self, x: Updates, weights: torch.Tensor, divisor: float | None
    ) -> Secret: ...
