"""Integers modulo 2^64 in the clear."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from secure_fl.aggregation.openings import Permit
from secure_fl.aggregation.ops import middle_ranks
from secure_fl.aggregation.worlds.constants import extra_bits
from secure_fl.aggregation.worlds.integer_ring import IntegerRing


class ClearMatrix(NamedTuple):
    """Integers (m, d) of at most `bits` bits, sign included."""

    values: torch.Tensor
    bits: int


class ClearRing(IntegerRing):
    """Integers modulo 2^64 in the clear: int64 tensors, whose arithmetic wraps as shares' does."""

    def constant(self, value: int, count: int) -> torch.Tensor:
        return torch.full((count,), value, dtype=torch.int64)

    def constant_as(self, like: torch.Tensor, value: int) -> torch.Tensor:
        return torch.full_like(like, value)

    def plus(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    def minus(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b

    def times(self, a: torch.Tensor, factor: int | torch.Tensor) -> torch.Tensor:
        return a * factor

    def product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a * b

    def matmul(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a @ b

    def floor_shift(self, a: torch.Tensor, drop: int) -> torch.Tensor:
        return a >> drop

    def round_down(self, a: torch.Tensor, drop: int) -> torch.Tensor:
        return a >> drop << drop

    def are_negative(self, arrays: Sequence[torch.Tensor]) -> list[torch.Tensor]:
        return [a < 0 for a in arrays]

    def bits_to_ring(self, bits: torch.Tensor) -> torch.Tensor:
        return bits.to(torch.int64)

    def both(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a & b

    def invert(self, a: torch.Tensor) -> torch.Tensor:
        return ~a

    def powers_of_four(self, a: torch.Tensor) -> torch.Tensor:
        return (a[..., None] >= 4 ** torch.arange(31)).to(torch.int64)

    def kth(self, a: torch.Tensor, ranks: tuple[int, ...]) -> list[torch.Tensor]:
        ordered = a.sort().values
        return [ordered[k : k + 1] for k in ranks]

    def total(self, a: torch.Tensor, axis: int) -> torch.Tensor:
        return a.sum(dim=axis).reshape(-1)

    def places(self, a: torch.Tensor, ranks: tuple[int, ...]) -> torch.Tensor:
        return a.argsort(stable=True)[list(ranks), None] == torch.arange(len(a))

    def smallest(self, a: torch.Tensor, count: int) -> torch.Tensor:
        order = a.argsort(dim=1, stable=True)
        return torch.zeros(a.shape, dtype=torch.bool).scatter_(1, order[:, :count], True)

    def weigh_last(self, a: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (a * weights).sum(dim=-1)

    def joined(self, parts: Sequence[torch.Tensor]) -> torch.Tensor:
        return torch.cat(list(parts))

    def part(self, a: torch.Tensor, start: int, stop: int) -> torch.Tensor:
        return a[start:stop]

    def take(self, a: torch.Tensor, indices: torch.Tensor) -> torch.Tensor:
        return a.flatten()[indices]

    def diagonal(self, a: torch.Tensor) -> torch.Tensor:
        return a.diagonal().clone()

    def expand(self, a: torch.Tensor, axis: int, count: int) -> torch.Tensor:
        return a[:, None].repeat(1, count) if axis == 1 else a[None].repeat(count, 1)

    def open_numbers(self, a: torch.Tensor, permit: Permit) -> torch.Tensor:
        permit.spend(tuple(a.shape), is_bit=False)
        return a.clone()

    def open_bits(self, a: torch.Tensor, shape: tuple[int, ...], permit: Permit) -> torch.Tensor:
        permit.spend(shape, is_bit=True)
        return a.clone().reshape(shape)

    def width(self, x: ClearMatrix) -> int:
        return x.bits

    def rows(self, x: ClearMatrix, indices: list[int]) -> ClearMatrix:
        return ClearMatrix(x.values[indices], x.bits)

    def join(self, parts: list[ClearMatrix]) -> ClearMatrix:
        values = torch.cat([part.values for part in parts])
        return ClearMatrix(values, max(part.bits for part in parts))

    def add_rows(self, x: ClearMatrix, y: ClearMatrix, bits: int) -> ClearMatrix:
        return ClearMatrix(x.values + y.values, bits)

    def subtract_rows(self, x: ClearMatrix, y: ClearMatrix, bits: int) -> ClearMatrix:
        return ClearMatrix(x.values - y.values, bits)

    def average_rows(self, x: ClearMatrix, weights: torch.Tensor, drop: int) -> ClearMatrix:
        return ClearMatrix(weights @ x.values >> drop, x.bits)

    def finer_rows(self, x: ClearMatrix, factor: int) -> ClearMatrix:
        return ClearMatrix(x.values * factor, x.bits + extra_bits(factor))

    def squared_norms(self, x: ClearMatrix) -> torch.Tensor:
        return x.values.square().sum(dim=1)

    def vector_norm(self, v: torch.Tensor) -> torch.Tensor:
        return v.square().sum()[None]

    def gram(self, x: ClearMatrix) -> torch.Tensor:
        return x.values @ x.values.T

    def row_dot(self, x: ClearMatrix, v: torch.Tensor) -> torch.Tensor:
        return x.values @ v

    def row_dot_public(self, x: ClearMatrix, v: torch.Tensor) -> torch.Tensor:
        return x.values @ v

    def scale_rows(self, x: ClearMatrix, factors: torch.Tensor, drop: int) -> ClearMatrix:
        return ClearMatrix((x.values * factors[:, None]) >> drop, x.bits)

    def combine(self, x: ClearMatrix, weights: torch.Tensor, bits: int, drop: int) -> ClearMatrix:
        return ClearMatrix((weights @ x.values) >> drop, bits)

    def row(self, x: ClearMatrix, index: int) -> torch.Tensor:
        return x.values[index]

    def reshaped(self, a: torch.Tensor, shape: tuple[int, ...]) -> torch.Tensor:
        return a.reshape(shape)

    def order(self, x: ClearMatrix, ranks: tuple[int, ...]) -> list[torch.Tensor]:
        ordered = x.values.sort(dim=0).values
        return [ordered[k] for k in ranks]

    def weighted_order(
        self, x: ClearMatrix, copies: tuple[int, ...], ranks: tuple[int, ...]
    ) -> list[torch.Tensor]:
        repeated = x.values.repeat_interleave(torch.tensor(copies), dim=0).sort(dim=0).values
        return [repeated[k] for k in ranks]

    def trimmed_mask(self, x: ClearMatrix, trim: int) -> torch.Tensor:
        order = x.values.argsort(dim=0, stable=True)
        mask = torch.zeros(x.values.shape, dtype=torch.bool)
        return mask.scatter_(0, order[trim : len(x.values) - trim], True)

    def nearest(self, x: ClearMatrix, keep: int) -> torch.Tensor:
        ordered = x.values.sort(dim=0).values
        low, high = (ordered[k] for k in (middle_ranks(len(ordered)) * 2)[:2])
        return _closest(2 * x.values - (low + high), keep)  # twice the distance

    def nearest_zero(self, x: ClearMatrix, keep: int) -> torch.Tensor:
        return _closest(x.values, keep)

    def signs(self, x: ClearMatrix) -> torch.Tensor:
        return x.values < 0

    def count_at_least(self, bits: torch.Tensor, count: int) -> torch.Tensor:
        return bits.sum(dim=0) >= count

    def differ(self, bits: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
        return bits ^ other

    def columns(self, x: ClearMatrix, indices: list[int]) -> ClearMatrix:
        return ClearMatrix(x.values[:, indices], x.bits)

    def shift(self, x: ClearMatrix, by: torch.Tensor, bits: int) -> ClearMatrix:
        return ClearMatrix(x.values + by, bits)

    def mix(
        self, mask: torch.Tensor, x: ClearMatrix, other: torch.Tensor | None, factor: int
    ) -> ClearMatrix:
        rest = torch.zeros((), dtype=torch.int64) if other is None else other
        values = torch.where(mask, x.values * factor, rest)
        return ClearMatrix(values, x.bits + extra_bits(factor))

    def weigh(self, x: ClearMatrix, weights: torch.Tensor) -> torch.Tensor:
        return weights @ x.values


def _closest(difference: torch.Tensor, keep: int) -> torch.Tensor:
    """Which are the `keep` nearest to 0 of each column; ties go below 0, then by row."""
    key = torch.where(difference < 0, -2 * difference - 1, 2 * difference)
    order = key.argsort(dim=0, stable=True)
    return torch.zeros(key.shape, dtype=torch.bool).scatter_(0, order[:keep], True)
