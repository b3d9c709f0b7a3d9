"""The operations that robust rules are written in, the same for every backend.

A rule sees `Updates` (n hospitals x d parameters) and `Secret` arrays. It can compute with them
but not look at them: `Ops.open(name, secret)` is the only way out, and every opening is recorded.
Three backends implement `Ops`:

    plain   float64 tensors: fast, the numerical reference
    fixed   64-bit fixed-point integers in the clear: bit for bit what MPC computes
    mpc     the same integers, secret-shared between computing nodes

Shapes: n hospitals, m <= n rows still in play, d parameters.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch

from secure_fl.aggregation.openings import FRACTION_BITS as FRACTION_BITS
from secure_fl.aggregation.openings import Exits, Permit
from secure_fl.aggregation.ranges import Span, point
from secure_fl.aggregation.weights import real_rows
from secure_fl.errors import InputError, require
from secure_fl.types import Opening

SCORE_TOLERANCE = 2.0**-14
"""How far below its limit a score may lie: four steps of 2^-16, to which updates are encoded.

Cosines have 24 fractional bits, rounded down. Hospitals that sent the same, but for its length or
rounding, would otherwise fall on both sides of a limit that their exact scores meet.
"""


@dataclass(frozen=True)
class Secret:
    """An array that only its backend can read.

    Supports + - and comparison with Secrets and public floats, * with either, and for bits
    (`is_bit`) & and ~.

    Attributes:
        unit: the public value of one integer step (1 in the plain backend).
        step: the value of one step as it is opened, where that is another: a mean's sum leaves as
            it is and is divided in public, a median's two middle values leave as their sum.
        rows: how many rows, with real weight where public weights decide, were combined in it; None
            for what is no combination of rows. Kept by every operation on Secrets: the fewest.
        span: public range of the numbers; anything in the plain backend.
    """

    ops: Ops
    data: Any
    shape: tuple[int, ...]
    unit: float = 1.0
    is_bit: bool = False
    step: float | None = None
    rows: int | None = None
    span: Span = Span()  # noqa: RUF009

    def __add__(self, other: Secret | float) -> Secret:
        return self.ops.add(self, other)

    def __sub__(self, other: Secret | float) -> Secret:
        return self.ops.subtract(self, other)

    def __mul__(self, other: Secret | float) -> Secret:
        return self.ops.multiply(self, other)

    __rmul__ = __mul__

    def __lt__(self, other: Secret | float) -> Secret:
        return self.ops.less(self, other)

    def __ge__(self, other: Secret | float) -> Secret:
        return ~self.ops.less(self, other)

    def __and__(self, other: Secret) -> Secret:
        return self.ops.both(self, other)

    def __invert__(self) -> Secret:
        return self.ops.invert(self)

    def __bool__(self) -> bool:
        raise InputError("a secret has no truth value; open it by name: ops.open(name, secret)")


def _of_fewest_rows(result: Secret, *sources: Secret | float) -> Secret:
    """A result with the fewest rows that one of its sources has."""
    known = [s.rows for s in sources if isinstance(s, Secret) and s.rows is not None]
    return replace(result, rows=min(known)) if known else result


@dataclass(frozen=True)
class Updates:
    """The updates of m hospitals, (m, d), readable only by their backend.

    Attributes:
        shape: (m, d).
        unit: value of one integer step.
        norm_bound: a public bound on every row's Euclidean norm, infinite if none is known.
    """

    data: Any
    shape: tuple[int, int]
    unit: float = 1.0
    norm_bound: float = float("inf")


class Ops(ABC):
    """Operations of one backend; also records what was opened."""

    def __init__(self) -> None:
        self.exits = Exits()

    @property
    def opened(self) -> list[Opening]:
        """What was opened, in order."""
        return self.exits.opened

    @property
    def values(self) -> dict[str, torch.Tensor]:
        """The opened values, by name."""
        return self.exits.values

    def open(self, name: str, secret: Secret) -> torch.Tensor:
        """Reveal a secret as its stage declares it: float64, or bool for bits.

        Numbers leave in steps of the declared unit; what is finer is rounded down before.

        Raises:
            InputError: this is not what is declared to be opened now.
        """
        permit = self.exits.permit(name, secret.shape, secret.is_bit)
        value = self._reveal(secret, permit)
        self.exits.record(permit, value)
        return value

    # --- updates ---

    def rows(self, x: Updates, indices: Sequence[int]) -> Updates:
        """Keep the rows with these public indices, each once.

        Raises:
            InputError: an index is given twice, so that rows would seem more than they are.
        """
        require(len(set(indices)) == len(indices), "indices of rows", "distinct", list(indices))
        return self._kept(x, list(indices))

    @abstractmethod
    def _kept(self, x: Updates, indices: list[int]) -> Updates: ...

    @abstractmethod
    def join(self, parts: Sequence[Updates]) -> Updates:
        """Stack the rows of several updates; integers are brought to the finest unit, exactly."""

    @abstractmethod
    def accumulate(self, total: Updates | None, x: Updates) -> Updates:
        """Return total + x, row by row, in the finer unit; None counts as zero."""

    @abstractmethod
    def squared_norms(self, x: Updates) -> Secret:
        """Return ||x_i||^2, (m,), without intermediate truncation."""

    @abstractmethod
    def cosine(self, x: Updates, reference: torch.Tensor | Secret) -> Secret:
        """Return cos(x_i, reference), (m,), for a public or secret (d,); 0 for zero vectors."""

    @abstractmethod
    def pairwise_cosine(self, x: Updates) -> Secret:
        """Return cos(x_i, x_j), (m, m), with zeros on the diagonal."""

    @abstractmethod
    def clip(
        self, x: Updates, squared_bound: Secret | float, norm_bound: float | None = None
    ) -> Updates:
        """Scale down each row whose squared norm exceeds the bound to the bound.

        `norm_bound` is a public bound on a secret bound's root, for later range checks.
        """

    def order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]:
        """Return for each 0-based rank k the k-th smallest of every coordinate, (d,)."""
        return [replace(v, rows=x.shape[0]) for v in self._order_statistics(x, ranks)]

    @abstractmethod
    def _order_statistics(self, x: Updates, ranks: Sequence[int]) -> list[Secret]: ...

    @abstractmethod
    def middle(self, x: Updates, trim: int) -> Secret:
        """Return bits (m, d): not among the `trim` smallest nor largest of their coordinate.

        Ties are broken by the row's index, so exactly m - 2 trim rows remain.
        """

    @abstractmethod
    def nearest(self, x: Updates, keep: int) -> Secret:
        """Return bits (m, d): among the `keep` values nearest to their coordinate's median.

        Ties go to values below the median, then by the row's index.
        """

    @abstractmethod
    def where(self, mask: Secret, x: Updates, otherwise: Secret | None) -> Updates:
        """Keep x where the mask (m, d) is set, elsewhere take `otherwise` (d,), or 0 for None."""

    def weighted_mean(
        self, x: Updates, weights: torch.Tensor, divisor: float | None = None
    ) -> Secret:
        """Return sum_i w_i x_i / sum_i w_i for public weights (m,), at least 0 and not all 0.

        Args:
            divisor: divides in place of the sum of the weights, which are equal then.
        """
        return replace(self._weighted_mean(x, weights, divisor), rows=real_rows(weights))

    @abstractmethod
    def _weighted_mean(
        self, x: Updates, weights: torch.Tensor, divisor: float | None
    ) -> Secret: ...

    # --- small arrays ---

    def add(self, a: Secret, b: Secret | float) -> Secret:
        """Return a + b."""
        return _of_fewest_rows(self._add(a, b), a, b)

    def subtract(self, a: Secret, b: Secret | float) -> Secret:
        """Return a - b."""
        return _of_fewest_rows(self._subtract(a, b), a, b)

    def multiply(self, a: Secret, b: Secret | float) -> Secret:
        """Return a * b; b may be a bit."""
        return _of_fewest_rows(self._multiply(a, b), a, b)

    def less(self, a: Secret, b: Secret | float) -> Secret:
        """Return bits [a < b]."""
        return self.less_each((a, b))[0]

    def less_each(self, *pairs: tuple[Secret, Secret | float]) -> list[Secret]:
        """Return bits [a < b] of each pair (a, b); those of one size share their rounds."""
        found = self._less_each(pairs)
        return [_of_fewest_rows(bits, *pair) for bits, pair in zip(found, pairs, strict=True)]

    def both(self, a: Secret, b: Secret) -> Secret:
        """Return bits a and b."""
        return _of_fewest_rows(self._both(a, b), a, b)

    def invert(self, a: Secret) -> Secret:
        """Return bits not a."""
        return _of_fewest_rows(self._invert(a), a)

    def sum_last(self, a: Secret) -> Secret:
        """Sum over the last axis."""
        return _of_fewest_rows(self._total(a), a)

    def ranked(self, a: Secret, ranks: Sequence[int]) -> list[Secret]:
        """Return for each rank k the k-th smallest element of a (m,), shape (1,)."""
        return [_of_fewest_rows(value, a) for value in self._ranked(a, ranks)]

    def _scaled(self, a: Secret, factor: float) -> Secret:
        """Return a * factor for a power of two, exactly."""
        return _of_fewest_rows(self._rescaled(a, factor), a)

    @abstractmethod
    def _add(self, a: Secret, b: Secret | float) -> Secret: ...

    @abstractmethod
    def _subtract(self, a: Secret, b: Secret | float) -> Secret: ...

    @abstractmethod
    def _multiply(self, a: Secret, b: Secret | float) -> Secret: ...

    @abstractmethod
    def _less_each(self, pairs: Sequence[tuple[Secret, Secret | float]]) -> list[Secret]: ...

    @abstractmethod
    def _both(self, a: Secret, b: Secret) -> Secret: ...

    @abstractmethod
    def _invert(self, a: Secret) -> Secret: ...

    @abstractmethod
    def _total(self, a: Secret) -> Secret: ...

    @abstractmethod
    def _ranked(self, a: Secret, ranks: Sequence[int]) -> list[Secret]: ...

    @abstractmethod
    def _rescaled(self, a: Secret, factor: float) -> Secret: ...

    @abstractmethod
    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        """Spend the permit; return the secret in steps of the permit's unit."""

    # --- compositions, the same for every backend ---

    def cosine_at_least(
        self, x: Updates, reference: torch.Tensor | Secret, threshold: float
    ) -> Secret:
        """Return bits [cos(x_i, reference) >= threshold], (m,), for a public or secret (d,)."""
        return self.cosine(x, reference) >= threshold

    def median(self, x: Updates) -> Secret:
        """Coordinate-wise median (d,); the mean of the two middle values for even m."""
        ranks = middle_ranks(x.shape[0])
        return self.mean_of(self.order_statistics(x, ranks))

    def median_of(self, a: Secret) -> Secret:
        """Return the median of a small array (m,) -> (1,)."""
        return self.mean_of(self.ranked(a, middle_ranks(a.shape[0])))

    def mean_of(self, values: Sequence[Secret]) -> Secret:
        """Return the mean of one or two secrets, exactly."""
        if len(values) == 1:
            return values[0]
        total = values[0] + values[1]
        # Half the unit instead of half the integer: exact. The sum is what leaves.
        return replace(self._scaled(total, 0.5), step=total.unit)

    def absolute(self, a: Secret) -> Secret:
        """Return |a|: a - 2 a [a < 0]."""
        result = a - self._scaled(self.multiply(a, a < 0.0), 2.0)
        return replace(result, span=Span(0.0, a.span.size))

    def maximum(self, a: Secret, b: Secret) -> Secret:
        """Return the larger of a and b: a + (b - a) [a < b]."""
        spans = a.span, b.span
        span = Span(max(s.low for s in spans), max(s.high for s in spans))
        return replace(a + self.multiply(b - a, a < b), span=span)

    def minimum(self, a: Secret, b: Secret | float) -> Secret:
        """Return the smaller of a and b: a + (b - a) [b < a]."""
        spans = a.span, b.span if isinstance(b, Secret) else point(b)
        if spans[0].high <= spans[1].low:
            return a
        difference = self.subtract(a, b)
        result = a - self.multiply(difference, ~(difference < 0.0))
        span = Span(min(s.low for s in spans), min(s.high for s in spans))
        return replace(result, span=span)


def middle_ranks(count: int) -> tuple[int, ...]:
    """Return the 0-based ranks whose mean is the median of `count` values."""
    require(count >= 1, "number of rows", "at least 1", count)
    return (count // 2,) if count % 2 else (count // 2 - 1, count // 2)


def exact_length(vector: torch.Tensor) -> float:
    """Return the Euclidean length of a public vector (d,), the same on every machine.

    A tensor's own norm adds up in an order that depends on the processor; here squares are added
    exactly and rounded once. All other arithmetic on public floats is element by element.
    """
    return math.sqrt(math.fsum(vector.to(torch.float64).square().tolist()))


def largest_norm_bound(parts: Sequence[Updates]) -> float:
    """Return a public bound on the norm of every row of several updates."""
    return max(part.norm_bound for part in parts)


def clipped_norm_bound(
    x: Updates, squared_bound: Secret | float, norm_bound: float | None
) -> float:
    """Return the public bound on the rows' norms after clipping x."""
    if not isinstance(squared_bound, Secret):
        require(squared_bound > 0, "squared_bound", "positive", squared_bound)
        norm_bound = math.sqrt(squared_bound)
    return x.norm_bound if norm_bound is None else min(x.norm_bound, norm_bound)
