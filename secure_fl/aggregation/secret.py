"""Arrays that only their backend can read: what a rule computes with.

Shapes: n hospitals, m <= n rows still in play, d parameters.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, NoReturn, Protocol

import torch

from secure_fl.aggregation.ranges import Span
from secure_fl.errors import InputError, require


class Operators(Protocol):
    """What the operators of secrets ask of their backend; `secure_fl.aggregation.ops.Ops` has it
    and says what each costs and reveals."""

    def add(self, a: Secret, b: Secret | float) -> Secret:
        """a + b."""

    def subtract(self, a: Secret, b: Secret | float) -> Secret:
        """a - b."""

    def multiply(self, a: Secret, b: Secret | float) -> Secret:
        """a * b."""

    def less(self, a: Secret, b: Secret | float) -> Secret:
        """A bit: a < b."""

    def both(self, a: Secret, b: Secret) -> Secret:
        """A bit: of two bits, whether both are set."""

    def invert(self, a: Secret) -> Secret:
        """A bit: the other of one bit."""


@dataclass(frozen=True, eq=False)
class Secret:
    """An array that only its backend can read.

    Supports + - and all comparisons but == with Secrets and public floats on either side, * with
    either, and for bits (`is_bit`) & | and ~.

    Attributes:
        ops: the backend's operations.
        unit: the public value of one integer step (1 in the plain backend).
        step: the value of one step as it is opened, where that is another: a mean's sum leaves as
            it is and is divided in public, a median's two middle values leave as their sum.
        rows: how many rows, with real weight where public weights decide, were combined in it; None
            for what is no combination of rows. Kept by every operation on Secrets: the fewest.
        span: public range of the numbers; anything in the plain backend.
    """

    ops: Operators
    data: Any
    shape: tuple[int, ...]
    unit: float = 1.0
    is_bit: bool = False
    step: float | None = None
    rows: int | None = None
    span: Span = Span()  # noqa: RUF009

    def __add__(self, other: Secret | float) -> Secret:
        return self.ops.add(self, other)

    __radd__ = __add__

    def __sub__(self, other: Secret | float) -> Secret:
        return self.ops.subtract(self, other)

    def __rsub__(self, other: float) -> Secret:
        return self.ops.add(-self, other)

    def __neg__(self) -> Secret:
        return self.ops.multiply(self, -1.0)

    def __mul__(self, other: Secret | float) -> Secret:
        return self.ops.multiply(self, other)

    __rmul__ = __mul__

    def __lt__(self, other: Secret | float) -> Secret:
        return self.ops.less(self, other)

    def __ge__(self, other: Secret | float) -> Secret:
        return ~self.ops.less(self, other)

    def __gt__(self, other: Secret | float) -> Secret:
        if isinstance(other, Secret):
            return self.ops.less(other, self)
        return self.ops.less(-self, -other)

    def __le__(self, other: Secret | float) -> Secret:
        return ~(self > other)

    def __eq__(self, other: object) -> NoReturn:
        raise InputError(
            "secrets are not compared with == or !=, which rounding decides: use <=, >=, or a "
            "distance, ops.absolute(a - b) <= tolerance"
        )

    def __hash__(self) -> int:
        return id(self)

    def __and__(self, other: Secret) -> Secret:
        return self.ops.both(self, other)

    def __or__(self, other: Secret) -> Secret:
        return ~(~self & ~other)

    def __invert__(self) -> Secret:
        return self.ops.invert(self)

    def __bool__(self) -> bool:
        raise InputError("a secret has no truth value; open it by name: ops.open(name, secret)")


def of_fewest_rows(result: Secret, *sources: Secret | float) -> Secret:
    """A result with the fewest rows that one of its sources has."""
    known = [s.rows for s in sources if isinstance(s, Secret) and s.rows is not None]
    return replace(result, rows=min(known)) if known else result


@dataclass(frozen=True, eq=False)
class Updates:
    """Rows (m, d), readable only by their backend: the updates of m hospitals, or made from them.

    Attributes:
        shape: (m, d).
        unit: value of one integer step.
        norm_bound: a public bound on every row's Euclidean norm, infinite if none is known.
        rows: how many hospitals' updates, with real weight, each row was combined of; None where a
            row is one hospital's.
        disjoint: whether no two rows are made of the same hospital's update.
    """

    data: Any
    shape: tuple[int, int]
    unit: float = 1.0
    norm_bound: float = math.inf
    rows: int | None = None
    disjoint: bool = True

    def hospitals(self, count: int) -> int:
        """How many hospitals' updates are combined, at the least, in what `count` rows make."""
        each = 1 if self.rows is None else self.rows
        return each * count if self.disjoint else each


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


def joined_rows(parts: Sequence[Updates]) -> tuple[int | None, bool]:
    """What is known of stacked rows: of how many hospitals each is, and whether of different ones.

    Rows that are one hospital's each are taken to be different hospitals'.
    """
    return _fewest(parts), all(part.rows is None for part in parts)


def paired_rows(x: Updates, y: Updates) -> tuple[int | None, bool]:
    """The same of rows that are added to those of the same hospitals."""
    return _fewest((x, y)), x.disjoint and y.disjoint


def _fewest(parts: Sequence[Updates]) -> int | None:
    known = [part.rows for part in parts]
    return None if None in known else min(rows for rows in known if rows is not None)


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
