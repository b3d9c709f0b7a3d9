"""What fixed-point arithmetic needs of integers modulo 2^64: `fixed` in the clear, `mpc` on shares.

A `Ring` is a small array of integers, `Bits` an array of bits, a `Matrix` the updates of m
hospitals, (m, d), each in whatever form the backend keeps it.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Any

import torch

from secure_fl.aggregation.openings import Permit

Ring = Any
Bits = Any
Matrix = Any


class IntegerRing(ABC):
    """Operations that `FixedPointOps` is written in; none rounds at random."""

    @abstractmethod
    def _constant_like(self, value: int, count: int) -> Ring:
        """Return `count` copies of a public integer."""

    @abstractmethod
    def _constant_as(self, like: Ring, value: int) -> Ring:
        """Return a public integer in the shape of `like`."""

    @abstractmethod
    def _plus(self, a: Ring, b: Ring) -> Ring: ...

    @abstractmethod
    def _minus(self, a: Ring, b: Ring) -> Ring: ...

    @abstractmethod
    def _times(self, a: Ring, factor: int | torch.Tensor) -> Ring:
        """Return a times public integers, with broadcasting."""

    @abstractmethod
    def _product(self, a: Ring, b: Ring) -> Ring:
        """Return a*b modulo 2^64, elementwise with broadcasting."""

    @abstractmethod
    def _floor_shift(self, a: Ring, drop: int) -> Ring:
        """Return floor(a / 2^drop) of signed a, exactly."""

    @abstractmethod
    def _round_down(self, a: Ring, drop: int) -> Ring:
        """Return 2^drop floor(a / 2^drop) of signed a modulo 2^64, exactly."""

    @abstractmethod
    def _negative(self, a: Ring) -> Bits:
        """Return [a < 0] for |a| < 2^63."""

    @abstractmethod
    def _bits_to_ring(self, bits: Bits) -> Ring: ...

    @abstractmethod
    def _and(self, a: Bits, b: Bits) -> Bits: ...

    @abstractmethod
    def _not(self, a: Bits) -> Bits: ...

    @abstractmethod
    def _thermometer(self, a: Ring) -> Ring:
        """Return [a >= 4^j] for j = 0..30 on a new last axis, for 0 <= a < 2^62."""

    @abstractmethod
    def _kth(self, a: Ring, ranks: tuple[int, ...]) -> list[Ring]:
        """Return the k-th smallest of a (m,), each (1,)."""

    @abstractmethod
    def _sum_last(self, a: Ring) -> Ring: ...

    @abstractmethod
    def _weigh_last(self, a: Ring, weights: torch.Tensor) -> Ring:
        """Return the sum over the last axis of a times public integers."""

    @abstractmethod
    def _diagonal(self, a: Ring) -> Ring: ...

    @abstractmethod
    def _expand(self, a: Ring, axis: int, count: int) -> Ring:
        """Repeat (m,) along a new axis to (m, count) or (count, m)."""

    @abstractmethod
    def _open_ring(self, a: Ring, permit: Permit) -> torch.Tensor:
        """Return the integers in the clear; spends the permit."""

    @abstractmethod
    def _open_bits(self, a: Bits, shape: tuple[int, ...], permit: Permit) -> torch.Tensor:
        """Return the bits in the clear; spends the permit."""

    @abstractmethod
    def _bits(self, x: Matrix) -> int:
        """Return the public width b: every value v satisfies -2^(b-1) <= v < 2^(b-1)."""

    @abstractmethod
    def _rows(self, x: Matrix, indices: list[int]) -> Matrix: ...

    @abstractmethod
    def _join(self, parts: list[Matrix]) -> Matrix: ...

    @abstractmethod
    def _sum(self, x: Matrix, y: Matrix, bits: int) -> Matrix: ...

    @abstractmethod
    def _finer_rows(self, x: Matrix, factor: int) -> Matrix:
        """Return x times a public factor, `extra_bits` wider."""

    @abstractmethod
    def _norms(self, x: Matrix) -> Ring: ...

    @abstractmethod
    def _vector_norm(self, v: Ring) -> Ring:
        """Return ||v||^2 as (1,)."""

    @abstractmethod
    def _gram(self, x: Matrix) -> Ring: ...

    @abstractmethod
    def _row_dot(self, x: Matrix, v: Ring) -> Ring: ...

    @abstractmethod
    def _row_dot_public(self, x: Matrix, v: torch.Tensor) -> Ring: ...

    @abstractmethod
    def _scale_rows(self, x: Matrix, factors: Ring, drop: int) -> Matrix:
        """Return floor(x_i f_i / 2^drop) for 0 <= f_i <= 2^drop."""

    @abstractmethod
    def _order(self, x: Matrix, ranks: tuple[int, ...]) -> list[Ring]: ...

    @abstractmethod
    def _middle(self, x: Matrix, trim: int) -> Bits: ...

    @abstractmethod
    def _nearest(self, x: Matrix, keep: int) -> Bits: ...

    @abstractmethod
    def _mix(self, mask: Bits, x: Matrix, other: Ring | None, factor: int) -> Matrix:
        """Return `factor` * x where the mask is set, elsewhere `other` or 0."""

    @abstractmethod
    def _weigh(self, x: Matrix, weights: torch.Tensor) -> Ring: ...
