"""The `mpc` backend's operations: `FixedPoint` on CrypTen's secret-shared tensors."""

from __future__ import annotations

from collections.abc import Sequence
from weakref import WeakSet

import numpy as np
import torch

from secure_fl.aggregation.openings import UNIT, Permit
from secure_fl.aggregation.ops import Updates, middle_ranks
from secure_fl.aggregation.worlds.constants import extra_bits
from secure_fl.aggregation.worlds.fixedpoint import FixedPoint
from secure_fl.aggregation.worlds.integer_ring import IntegerRing
from secure_fl.mpc.bit_slicing import unpack_bits
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.planning import rank_groups
from secure_fl.mpc.ring import Masked, Rest, Ring
from secure_fl.mpc.shared_matrix import SharedBits, SharedMatrix
from secure_fl.mpc.wires import Wires

crypten = import_crypten()
from crypten.mpc.primitives import ArithmeticSharedTensor  # noqa: E402

_INT = np.int64


def _ring(share: np.ndarray) -> ArithmeticSharedTensor:
    return ArithmeticSharedTensor.from_shares(torch.from_numpy(share), precision=0)


def _share(ring: ArithmeticSharedTensor) -> np.ndarray:
    return ring.share.numpy()


def wrap(share: np.ndarray, bits: int) -> Updates:
    """Wrap this node's shares int64 (m, d), valid modulo 2^bits, of encoded updates."""
    matrix = SharedMatrix(share, bits, lifted=bits == 64)
    return Updates(matrix, (share.shape[0], share.shape[1]), UNIT)


class SharedRing(IntegerRing):
    """Integers modulo 2^64 as this node's shares.

    Args:
        protocols: what nodes do together.
    """

    def __init__(self, protocols: Ring) -> None:
        self.protocols = protocols
        self._known: WeakSet[SharedMatrix] = WeakSet()

    def finish(self) -> None:
        """Let the dealer forget its masks, and forget what was opened under them."""
        self.protocols.finish()
        for matrix in self._known:
            matrix.forget()
        self._known.clear()

    # --- small arrays ---

    def constant(self, value: int, count: int) -> ArithmeticSharedTensor:
        return _ring(self.protocols.constant(value, (count,)))

    def constant_as(self, like: ArithmeticSharedTensor, value: int) -> ArithmeticSharedTensor:
        return _ring(self.protocols.constant(value, tuple(like.share.shape)))

    def plus(self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(_share(a) + _share(b))

    def minus(self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(_share(a) - _share(b))

    def times(
        self, a: ArithmeticSharedTensor, factor: int | torch.Tensor
    ) -> ArithmeticSharedTensor:
        other = factor.numpy() if isinstance(factor, torch.Tensor) else _INT(factor)
        return _ring(_share(a) * other)

    def product(
        self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor
    ) -> ArithmeticSharedTensor:
        return _ring(self.protocols.product(_share(a), _share(b)))

    def matmul(
        self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor
    ) -> ArithmeticSharedTensor:
        return _ring(self.protocols.combine(self.protocols.masked(_share(b)), _share(a)))

    def floor_shift(self, a: ArithmeticSharedTensor, drop: int) -> ArithmeticSharedTensor:
        share = _share(a)
        flat = share.reshape(1, -1)
        return _ring(self.protocols.floor_shift(flat, drop).reshape(share.shape))

    def round_down(self, a: ArithmeticSharedTensor, drop: int) -> ArithmeticSharedTensor:
        share = _share(a)
        flat = share.reshape(1, -1)
        return _ring(self.protocols.round_down(flat, drop).reshape(share.shape))

    def are_negative(self, arrays: Sequence[ArithmeticSharedTensor]) -> list[SharedBits]:
        flat = [_share(a).reshape(-1) for a in arrays]
        sizes = {len(numbers) for numbers in flat}
        if len(sizes) > 1:  # wires of other widths
            return [bits for a in arrays for bits in self.are_negative([a])]
        (size,) = sizes
        wires = self.protocols.on_bits("negative", np.stack(flat))
        if len(flat) == 1:
            return [SharedBits(wires, size)]
        return [SharedBits(self.protocols.rows(wires, [i]), size) for i in range(len(flat))]

    def bits_to_ring(self, bits: SharedBits) -> ArithmeticSharedTensor:
        ring = self.protocols.b2a(bits.wires, bits.columns)
        return _ring(ring[0] if len(ring) == 1 else ring)

    def both(self, a: SharedBits, b: SharedBits) -> SharedBits:
        (wires,) = self.protocols.run("both", a.wires, b.wires)
        return SharedBits(wires, a.columns)

    def invert(self, a: SharedBits) -> SharedBits:
        flipped = Wires(a.wires.number, ~a.wires.masked, a.wires.share)
        return SharedBits(flipped, a.columns)

    def powers_of_four(self, a: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        share = _share(a).reshape(1, -1)
        wires = self.protocols.on_bits("thermometer", share)
        ring = self.protocols.b2a(wires, share.shape[1])  # (31, count)
        return _ring(np.ascontiguousarray(ring.T).reshape(*a.share.shape, len(ring)))

    def kth(
        self, a: ArithmeticSharedTensor, ranks: tuple[int, ...]
    ) -> list[ArithmeticSharedTensor]:
        share = _share(a)  # (m,)
        onehot = self.protocols.b2a(self.places(a, ranks).wires, len(share))  # (K, m)
        values = self.protocols.product(onehot, share[None, :]).sum(axis=1)
        return [_ring(values[k : k + 1]) for k in range(len(ranks))]

    def places(self, a: ArithmeticSharedTensor, ranks: tuple[int, ...]) -> SharedBits:
        """Rank by comparing all pairs, in a number of rounds that hardly grows with m."""
        share = _share(a)  # (m,)
        m = len(share)
        difference = share[:, None] - share[None, :]  # a_j - a_i at [j, i]
        if self.protocols.leader:
            # Of equal numbers the earlier sorts first: a_j - a_i - 1 < 0 where j < i.
            difference -= np.triu(np.ones((m, m), _INT), 1)
        wires = self.protocols.on_bits("rank_onehot", difference, ranks=list(ranks))
        return SharedBits(wires, m)

    def total(self, a: ArithmeticSharedTensor, axis: int) -> ArithmeticSharedTensor:
        return _ring(_share(a).sum(axis=axis).reshape(-1))

    def smallest(self, a: ArithmeticSharedTensor, count: int) -> SharedBits:
        """Compare all pairs of a row, in a number of rounds that hardly grows with m and c."""
        share = _share(a)  # (m, c)
        m, c = share.shape
        difference = share.T[:, :, None] - share[None]  # a[r, j] - a[r, i] at [j, r, i]
        if self.protocols.leader:
            # Of equal numbers the earlier sorts first: a_j - a_i - 1 < 0 where j < i.
            difference -= np.triu(np.ones((c, c), _INT), 1)[:, None]
        flat = difference.reshape(c, m * c)
        return SharedBits(self.protocols.on_bits("rank_below", flat, count=count), m * c)

    def weigh_last(
        self, a: ArithmeticSharedTensor, weights: torch.Tensor
    ) -> ArithmeticSharedTensor:
        return _ring((_share(a) * weights.numpy()).sum(axis=-1))

    def joined(self, parts: Sequence[ArithmeticSharedTensor]) -> ArithmeticSharedTensor:
        return _ring(np.concatenate([_share(part) for part in parts]))

    def part(self, a: ArithmeticSharedTensor, start: int, stop: int) -> ArithmeticSharedTensor:
        return _ring(_share(a)[start:stop].copy())

    def take(self, a: ArithmeticSharedTensor, indices: torch.Tensor) -> ArithmeticSharedTensor:
        return _ring(_share(a).reshape(-1)[indices.numpy()])

    def diagonal(self, a: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(_share(a).diagonal().copy())

    def expand(self, a: ArithmeticSharedTensor, axis: int, count: int) -> ArithmeticSharedTensor:
        share = np.expand_dims(_share(a), axis)
        return _ring(np.repeat(share, count, axis=axis))

    def open_numbers(self, a: ArithmeticSharedTensor, permit: Permit) -> torch.Tensor:
        return torch.from_numpy(self.protocols.reveal(_share(a), permit))

    def open_bits(self, a: SharedBits, shape: tuple[int, ...], permit: Permit) -> torch.Tensor:
        bits = unpack_bits(self.protocols.reveal_wires(a.wires, permit), a.columns)
        return torch.from_numpy(bits.astype(bool)).reshape(shape)

    # --- updates ---

    def planes(self, x: SharedMatrix) -> Wires:
        """Return the bits of updates, found once."""
        return self._find(x)[0] if x.planes is None else x.planes

    def _find(self, x: SharedMatrix) -> tuple[Wires, Rest]:
        narrow = x.tensor is None
        x.planes, rest = self.protocols.a2b(x.share, x.bits, x.drop, carries=narrow)
        x.rest = rest if narrow else None
        self._known.add(x)
        return x.planes, rest

    def lifted(self, x: SharedMatrix) -> np.ndarray:
        """Return shares modulo 2^64 of the values, (m, d)."""
        if x.tensor is None:
            rest = self._find(x)[1] if x.rest is None else x.rest
            x.lift(self.protocols.compose(x.bits, rest))
        return x.share

    def _under_mask(self, x: SharedMatrix) -> Masked:
        if x.masked is None:
            x.masked = self.protocols.masked(self.lifted(x))
            self._known.add(x)
        return x.masked

    def width(self, x: SharedMatrix) -> int:
        return x.bits

    def rows(self, x: SharedMatrix, indices: list[int]) -> SharedMatrix:
        kept = x.rows(indices, self.protocols)
        if kept.planes is not None:
            self._known.add(kept)
        return kept

    def join(self, parts: list[SharedMatrix]) -> SharedMatrix:
        share = np.concatenate([self.lifted(part) for part in parts])
        return SharedMatrix(share, max(part.bits for part in parts), lifted=True)

    def add_rows(self, x: SharedMatrix, y: SharedMatrix, bits: int) -> SharedMatrix:
        return SharedMatrix(self.lifted(x) + self.lifted(y), bits, lifted=True)

    def subtract_rows(self, x: SharedMatrix, y: SharedMatrix, bits: int) -> SharedMatrix:
        return SharedMatrix(self.lifted(x) - self.lifted(y), bits, lifted=True)

    def average_rows(self, x: SharedMatrix, weights: torch.Tensor, drop: int) -> SharedMatrix:
        share = np.einsum("kn,nd->kd", weights.numpy(), self.lifted(x))
        return SharedMatrix(share, x.bits, drop, lifted=drop == 0)

    def finer_rows(self, x: SharedMatrix, factor: int) -> SharedMatrix:
        return SharedMatrix(self.lifted(x) * _INT(factor), x.bits + extra_bits(factor), lifted=True)

    def squared_norms(self, x: SharedMatrix) -> ArithmeticSharedTensor:
        return _ring(self.protocols.squared_norms(self._under_mask(x)))

    def vector_norm(self, v: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(self.protocols.squared_norms(self.protocols.masked(_share(v)[None])))

    def gram(self, x: SharedMatrix) -> ArithmeticSharedTensor:
        return _ring(self.protocols.gram(self._under_mask(x)))

    def row_dot(self, x: SharedMatrix, v: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(self.protocols.row_dot(self._under_mask(x), _share(v)))

    def row_dot_public(self, x: SharedMatrix, v: torch.Tensor) -> ArithmeticSharedTensor:
        return _ring(np.einsum("nd,d->n", self.lifted(x), v.numpy()))

    def scale_rows(
        self, x: SharedMatrix, factors: ArithmeticSharedTensor, drop: int
    ) -> SharedMatrix:
        share = self.protocols.row_scale(self._under_mask(x), _share(factors))
        return SharedMatrix(share, x.bits, drop)

    def combine(
        self, x: SharedMatrix, weights: ArithmeticSharedTensor, bits: int, drop: int
    ) -> SharedMatrix:
        share = self.protocols.combine(self._under_mask(x), _share(weights))
        return SharedMatrix(share, bits, drop, lifted=drop == 0)

    def row(self, x: SharedMatrix, index: int) -> ArithmeticSharedTensor:
        return _ring(self.lifted(x)[index].copy())

    def reshaped(self, a: ArithmeticSharedTensor, shape: tuple[int, ...]) -> ArithmeticSharedTensor:
        return _ring(_share(a).reshape(shape))

    def order(self, x: SharedMatrix, ranks: tuple[int, ...]) -> list[ArithmeticSharedTensor]:
        planes = self.planes(x)
        values: list[ArithmeticSharedTensor] = []
        for group in rank_groups(planes.masked.shape, ranks):
            (found,) = self.protocols.run("order", planes, ranks=group)
            values += self._composed(found, x, len(group))
        return values

    def weighted_order(
        self, x: SharedMatrix, copies: tuple[int, ...], ranks: tuple[int, ...]
    ) -> list[ArithmeticSharedTensor]:
        wanted = {"copies": list(copies), "ranks": list(ranks)}
        (found,) = self.protocols.run("weighted_order", self.planes(x), **wanted)
        return self._composed(found, x, len(ranks))

    def _composed(self, found: Wires, x: SharedMatrix, count: int) -> list[ArithmeticSharedTensor]:
        """Numbers (d,) from the bits (count, b, d) of values of x."""
        d = x.share.shape[1]
        values = self.protocols.constant(-(1 << (x.bits - 1)), (count, d))
        for k, value in enumerate(values):
            ring = self.protocols.b2a(found, d, (k,))  # (b, d)
            value += (_INT(1) << np.arange(x.bits, dtype=_INT)) @ ring
        return [_ring(value) for value in values]

    def trimmed_mask(self, x: SharedMatrix, trim: int) -> SharedBits:
        (kept,) = self.protocols.run("trimmed_mask", self.planes(x), trim=trim)
        return SharedBits(kept, x.share.shape[1])

    def nearest(self, x: SharedMatrix, keep: int) -> SharedBits:
        ranks = list(middle_ranks(len(x.share)))
        (kept,) = self.protocols.run("nearest", self.planes(x), ranks=ranks, keep=keep)
        return SharedBits(kept, x.share.shape[1])

    def nearest_zero(self, x: SharedMatrix, keep: int) -> SharedBits:
        (kept,) = self.protocols.run("nearest_zero", self.planes(x), keep=keep)
        return SharedBits(kept, x.share.shape[1])

    def signs(self, x: SharedMatrix) -> SharedBits:
        (below,) = self.protocols.run("signs", self.planes(x))
        return SharedBits(below, x.share.shape[1])

    def count_at_least(self, bits: SharedBits, count: int) -> SharedBits:
        (found,) = self.protocols.run("count_at_least", bits.wires, count=count)
        return SharedBits(found, bits.columns)

    def differ(self, bits: SharedBits, other: SharedBits) -> SharedBits:
        (found,) = self.protocols.run("differ", bits.wires, other.wires)
        return SharedBits(found, bits.columns)

    def columns(self, x: SharedMatrix, indices: list[int]) -> SharedMatrix:
        share = np.ascontiguousarray(x.share[:, indices])
        return SharedMatrix(share, x.bits, x.drop, x.tensor is not None)

    def shift(
        self, x: SharedMatrix, by: ArithmeticSharedTensor | torch.Tensor, bits: int
    ) -> SharedMatrix:
        public = isinstance(by, torch.Tensor)
        vector = self.protocols.constant(by.numpy()) if public else _share(by)
        return SharedMatrix(self.lifted(x) + vector, bits, lifted=True)

    def mix(
        self,
        mask: SharedBits,
        x: SharedMatrix,
        other: ArithmeticSharedTensor | None,
        factor: int,
    ) -> SharedMatrix:
        bits = x.bits + extra_bits(factor)
        chosen = self.protocols.mux(mask.wires, self._under_mask(x)) * _INT(factor)
        if other is not None:
            # mask x + (1 - mask) other = mask x - mask other + other
            rest = _share(other)
            chosen += rest - self.protocols.mux(mask.wires, self.protocols.masked(rest[None]))
        return SharedMatrix(chosen, bits, lifted=True)

    def weigh(self, x: SharedMatrix, weights: torch.Tensor) -> ArithmeticSharedTensor:
        # einsum: NumPy's matrix product of integers takes twice as long
        return _ring(np.einsum("n,nd->d", weights.numpy(), self.lifted(x)))


class SharedOps(FixedPoint):
    """`FixedPoint` on this node's shares."""

    ring: SharedRing

    def __init__(self, protocols: Ring) -> None:
        super().__init__(SharedRing(protocols))

    def finish(self) -> None:
        """Let the dealer forget its masks, and forget what was opened under them."""
        self.ring.finish()
