"""What fixed-point arithmetic needs of integers modulo 2^64: `fixed` in the clear, `mpc` on shares.

`Numbers` are a small array of integers, `Bits` an array of bits, a `Matrix` the updates of m
hospitals, (m, d), each in whatever form the backend keeps it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch

from secure_fl.aggregation.openings import Permit

Numbers = Any
Bits = Any
Matrix = Any


class IntegerRing(ABC):
    """Operations that `FixedPoint` is written in; none rounds at random."""

    @abstractmethod
    def constant(self, value: int, count: int) -> Numbers:
        """Return `count` copies of a public integer."""

    @abstractmethod
    def constant_as(self, like: Numbers, value: int) -> Numbers:
        """Return a public integer in the shape of `like`."""

    @abstractmethod
    def plus(self, a: Numbers, b: Numbers) -> Numbers: ...

    @abstractmethod
    def minus(self, a: Numbers, b: Numbers) -> Numbers: ...

    @abstractmethod
    def times(self, a: Numbers, factor: int | torch.Tensor) -> Numbers:
        """Return a times public integers, with broadcasting."""

    @abstractmethod
    def product(self, a: Numbers, b: Numbers) -> Numbers:
        """Return a*b modulo 2^64, elementwise with broadcasting."""

    @abstractmethod
    def matmul(self, a: Numbers, b: Numbers) -> Numbers:
        """Return the matrix product of (k, m) and (m, n), (k, n)."""

    @abstractmethod
    def floor_shift(self, a: Numbers, drop: int) -> Numbers:
        """Return floor(a / 2^drop) of signed a, exactly."""

    @abstractmethod
    def round_down(self, a: Numbers, drop: int) -> Numbers:
        """Return 2^drop floor(a / 2^drop) of signed a modulo 2^64, exactly."""

    @abstractmethod
    def are_negative(self, arrays: Sequence[Numbers]) -> list[Bits]:
        """Return [a < 0] for each array, |a| < 2^63; those of one size share their rounds."""

    @abstractmethod
    def bits_to_ring(self, bits: Bits) -> Numbers: ...

    @abstractmethod
    def both(self, a: Bits, b: Bits) -> Bits: ...

    @abstractmethod
    def invert(self, a: Bits) -> Bits: ...

    @abstractmethod
    def powers_of_four(self, a: Numbers) -> Numbers:
        """Return [a >= 4^j] for j = 0..30 on a new last axis, for 0 <= a < 2^62."""

    @abstractmethod
    def kth(self, a: Numbers, ranks: tuple[int, ...]) -> list[Numbers]:
        """Return the k-th smallest of a (m,), each (1,)."""

    @abstractmethod
    def total(self, a: Numbers, axis: int) -> Numbers:
        """Return the sum over an axis; of (m,) as (1,)."""

    @abstractmethod
    def places(self, a: Numbers, ranks: tuple[int, ...]) -> Bits:
        """Return which of a (m,) is the k-th smallest, for each rank, (K, m); ties by place."""

    @abstractmethod
    def smallest(self, a: Numbers, count: int) -> Bits:
        """Return which of a (m, c) are among the `count` smallest of their row; ties by place."""

    @abstractmethod
    def weigh_last(self, a: Numbers, weights: torch.Tensor) -> Numbers:
        """Return the sum over the last axis of a times public integers."""

    @abstractmethod
    def joined(self, parts: Sequence[Numbers]) -> Numbers:
        """Return arrays (m_i,) one after the other, (sum of m_i,)."""

    @abstractmethod
    def part(self, a: Numbers, start: int, stop: int) -> Numbers:
        """Return a[start:stop] of a (m,)."""

    @abstractmethod
    def take(self, a: Numbers, indices: torch.Tensor) -> Numbers:
        """Return the numbers at these places of a, row by row, in the shape of `indices`."""

    @abstractmethod
    def diagonal(self, a: Numbers) -> Numbers: ...

    @abstractmethod
    def expand(self, a: Numbers, axis: int, count: int) -> Numbers:
        """Repeat (m,) along a new axis to (m, count) or (count, m)."""

    @abstractmethod
    def open_numbers(self, a: Numbers, permit: Permit) -> torch.Tensor:
        """Return the integers in the clear; spends the permit."""

    @abstractmethod
    def open_bits(self, a: Bits, shape: tuple[int, ...], permit: Permit) -> torch.Tensor:
        """Return the bits in the clear; spends the permit."""

    @abstractmethod
    def width(self, x: Matrix) -> int:
        """Return the public width b: every value v satisfies -2^(b-1) <= v < 2^(b-1)."""

    @abstractmethod
    def rows(self, x: Matrix, indices: list[int]) -> Matrix: ...

    @abstractmethod
    def join(self, parts: list[Matrix]) -> Matrix: ...

    @abstractmethod
    def add_rows(self, x: Matrix, y: Matrix, bits: int) -> Matrix: ...

    @abstractmethod
    def subtract_rows(self, x: Matrix, y: Matrix, bits: int) -> Matrix: ...

    @abstractmethod
    def average_rows(self, x: Matrix, weights: torch.Tensor, drop: int) -> Matrix:
        """Return floor(w x / 2^drop), (k, d), for public w (k, m) whose rows add up to 2^drop."""

    @abstractmethod
    def finer_rows(self, x: Matrix, factor: int) -> Matrix:
        """Return x times a public factor, `extra_bits` wider."""

    @abstractmethod
    def squared_norms(self, x: Matrix) -> Numbers: ...

    @abstractmethod
    def vector_norm(self, v: Numbers) -> Numbers:
        """Return ||v||^2 as (1,)."""

    @abstractmethod
    def gram(self, x: Matrix) -> Numbers: ...

    @abstractmethod
    def row_dot(self, x: Matrix, v: Numbers) -> Numbers: ...

    @abstractmethod
    def row_dot_public(self, x: Matrix, v: torch.Tensor) -> Numbers: ...

    @abstractmethod
    def scale_rows(self, x: Matrix, factors: Numbers, drop: int) -> Matrix:
        """Return floor(x_i f_i / 2^drop) for 0 <= f_i <= 2^drop."""

    @abstractmethod
    def combine(self, x: Matrix, weights: Numbers, bits: int, drop: int) -> Matrix:
        """Return floor(w x / 2^drop), (k, d), of at most `bits` bits, for weights (k, m)."""

    @abstractmethod
    def row(self, x: Matrix, index: int) -> Numbers:
        """Return one row, (d,)."""

    @abstractmethod
    def reshaped(self, a: Numbers, shape: tuple[int, ...]) -> Numbers: ...

    @abstractmethod
    def order(self, x: Matrix, ranks: tuple[int, ...]) -> list[Numbers]: ...

    @abstractmethod
    def weighted_order(
        self, x: Matrix, copies: tuple[int, ...], ranks: tuple[int, ...]
    ) -> list[Numbers]:
        """Return order statistics of a multiset in which row i stands copies[i] times."""

    @abstractmethod
    def trimmed_mask(self, x: Matrix, trim: int) -> Bits: ...

    @abstractmethod
    def nearest(self, x: Matrix, keep: int) -> Bits: ...

    @abstractmethod
    def nearest_zero(self, x: Matrix, keep: int) -> Bits:
        """Return which are the `keep` nearest to 0 of their column; ties below 0, then by row."""

    @abstractmethod
    def signs(self, x: Matrix) -> Bits:
        """Return [x < 0], (m, d)."""

    @abstractmethod
    def count_at_least(self, bits: Bits, count: int) -> Bits:
        """Return whether at least `count` of a column's bits (m, d) are set, (d,)."""

    @abstractmethod
    def differ(self, bits: Bits, other: Bits) -> Bits:
        """Return in which bits rows (m, d) differ from another, (d,)."""

    @abstractmethod
    def columns(self, x: Matrix, indices: list[int]) -> Matrix: ...

    @abstractmethod
    def shift(self, x: Matrix, by: Numbers | torch.Tensor, bits: int) -> Matrix:
        """Return x_i + by, for a secret or public (d,), of at most `bits` bits."""

    @abstractmethod
    def mix(self, mask: Bits, x: Matrix, other: Numbers | None, factor: int) -> Matrix:
        """Return `factor` * x where the mask is set, elsewhere `other` or 0."""

    @abstractmethod
    def weigh(self, x: Matrix, weights: torch.Tensor) -> Numbers: ...
