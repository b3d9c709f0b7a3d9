"""The fixed backend: the integers of the MPC backend, computed in the clear.

It exists so that MPC can be tested to the last bit. Ring elements are int64 tensors, whose
arithmetic wraps modulo 2^64 as the shares' does.
"""

from __future__ import annotations

from typing import NamedTuple

import torch

from secure_fl.aggregation.openings import UNIT, Permit
from secure_fl.aggregation.ops import Updates, middle_ranks
from secure_fl.aggregation.worlds.constants import extra_bits
from secure_fl.aggregation.worlds.fixedpoint import FixedPointOps, encode


class ClearMatrix(NamedTuple):
    """Integers (m, d) of at most `bits` bits, sign included."""

    values: torch.Tensor
    bits: int


def wrap(x: torch.Tensor, bits: int) -> Updates:
    """Encode float updates (m, d), reduced to `bits` bits as a node would read them."""
    values = encode(x)
    if bits < 64:
        half = 1 << (bits - 1)
        values = torch.remainder(values + half, 1 << bits) - half
    return Updates(ClearMatrix(values, bits), (x.shape[0], x.shape[1]), UNIT)


class ClearOps(FixedPointOps):
    """The ring of `FixedPointOps` on int64 tensors."""

    def _constant_like(self, value: int, count: int) -> torch.Tensor:
        return torch.full((count,), value, dtype=torch.int64)

    def _constant_as(self, like: torch.Tensor, value: int) -> torch.Tensor:
        return torch.full_like(like, value)

    def _plus(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a + b

    def _minus(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a - b

    def _times(self, a: torch.Tensor, factor: int | torch.Tensor) -> torch.Tensor:
        return a * factor

    def _product(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a * b

    def _floor_shift(self, a: torch.Tensor, drop: int) -> torch.Tensor:
        return a >> drop

    def _round_down(self, a: torch.Tensor, drop: int) -> torch.Tensor:
        return a >> drop << drop

    def _negative(self, a: torch.Tensor) -> torch.Tensor:
        return a < 0

    def _bits_to_ring(self, bits: torch.Tensor) -> torch.Tensor:
        return bits.to(torch.int64)

    def _and(self, a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
        return a & b

    def _not(self, a: torch.Tensor) -> torch.Tensor:
        return ~a

    def _thermometer(self, a: torch.Tensor) -> torch.Tensor:
        return (a[..., None] >= 4 ** torch.arange(31)).to(torch.int64)

    def _kth(self, a: torch.Tensor, ranks: tuple[int, ...]) -> list[torch.Tensor]:
        ordered = a.sort().values
        return [ordered[k : k + 1] for k in ranks]

    def _sum_last(self, a: torch.Tensor) -> torch.Tensor:
        return a.sum(dim=-1)

    def _weigh_last(self, a: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
        return (a * weights).sum(dim=-1)

    def _diagonal(self, a: torch.Tensor) -> torch.Tensor:
        return a.diagonal().clone()

    def _expand(self, a: torch.Tensor, axis: int, count: int) -> torch.Tensor:
        return a[:, None].expand(-1, count) if axis == 1 else a[None].expand(count, -1)

    def _open_ring(self, a: torch.Tensor, permit: Permit) -> torch.Tensor:
        permit.spend(tuple(a.shape), is_bit=False)
        return a.clone()

    def _open_bits(self, a: torch.Tensor, shape: tuple[int, ...], permit: Permit) -> torch.Tensor:
        permit.spend(shape, is_bit=True)
        return a.clone().reshape(shape)

    def _bits(self, x: ClearMatrix) -> int:
        return x.bits

    def _rows(self, x: ClearMatrix, indices: list[int]) -> ClearMatrix:
        return ClearMatrix(x.values[indices], x.bits)

    def _join(self, parts: list[ClearMatrix]) -> ClearMatrix:
        values = torch.cat([part.values for part in parts])
        return ClearMatrix(values, max(part.bits for part in parts))

    def _sum(self, x: ClearMatrix, y: ClearMatrix, bits: int) -> ClearMatrix:
        return ClearMatrix(x.values + y.values, bits)

    def _finer_rows(self, x: ClearMatrix, factor: int) -> ClearMatrix:
        return ClearMatrix(x.values * factor, x.bits + extra_bits(factor))

    def _norms(self, x: ClearMatrix) -> torch.Tensor:
        return x.values.square().sum(dim=1)

    def _vector_norm(self, v: torch.Tensor) -> torch.Tensor:
        return v.square().sum()[None]

    def _gram(self, x: ClearMatrix) -> torch.Tensor:
        return x.values @ x.values.T

    def _row_dot(self, x: ClearMatrix, v: torch.Tensor) -> torch.Tensor:
        return x.values @ v

    def _row_dot_public(self, x: ClearMatrix, v: torch.Tensor) -> torch.Tensor:
        return x.values @ v

    def _scale_rows(self, x: ClearMatrix, factors: torch.Tensor, drop: int) -> ClearMatrix:
        return ClearMatrix((x.values * factors[:, None]) >> drop, x.bits)

    def _order(self, x: ClearMatrix, ranks: tuple[int, ...]) -> list[torch.Tensor]:
        ordered = x.values.sort(dim=0).values
        return [ordered[k] for k in ranks]

    def _middle(self, x: ClearMatrix, trim: int) -> torch.Tensor:
        order = x.values.argsort(dim=0, stable=True)
        mask = torch.zeros(x.values.shape, dtype=torch.bool)
        return mask.scatter_(0, order[trim : len(x.values) - trim], True)

    def _nearest(self, x: ClearMatrix, keep: int) -> torch.Tensor:
        ordered = x.values.sort(dim=0).values
        low, high = (ordered[k] for k in (middle_ranks(len(ordered)) * 2)[:2])
        difference = 2 * x.values - (low + high)  # twice the distance
        key = torch.where(difference < 0, -2 * difference - 1, 2 * difference)
        order = key.argsort(dim=0, stable=True)
        mask = torch.zeros(x.values.shape, dtype=torch.bool)
        return mask.scatter_(0, order[:keep], True)

    def _mix(
        self, mask: torch.Tensor, x: ClearMatrix, other: torch.Tensor | None, factor: int
    ) -> ClearMatrix:
        rest = torch.zeros((), dtype=torch.int64) if other is None else other
        values = torch.where(mask, x.values * factor, rest)
        return ClearMatrix(values, x.bits + extra_bits(factor))

    def _weigh(self, x: ClearMatrix, weights: torch.Tensor) -> torch.Tensor:
        return weights @ x.values
