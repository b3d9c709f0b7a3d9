"""The `mpc` backend's operations: `FixedPointOps` on CrypTen's secret-shared tensors."""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np
import torch

from secure_fl.aggregation.fixedpoint import UNIT, FixedPointOps
from secure_fl.aggregation.ops import FRACTION_BITS, Updates
from secure_fl.mpc import gates as circuits
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.correlations import word_count
from secure_fl.mpc.gates import selection_cost
from secure_fl.mpc.ring import Decomposed, Masked, Ring

crypten = import_crypten()
from crypten.mpc import MPCTensor  # noqa: E402
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor  # noqa: E402

_INT = np.int64


def _ring(share: np.ndarray) -> ArithmeticSharedTensor:
    return ArithmeticSharedTensor.from_shares(torch.from_numpy(share), precision=0)


def _share(ring: ArithmeticSharedTensor) -> np.ndarray:
    return ring.share.numpy()


class SharedBits:
    """Bits of an array, XOR-shared in a `BinarySharedTensor` of words (rows, W)."""

    def __init__(self, words: np.ndarray, columns: int) -> None:
        packed = torch.from_numpy(np.ascontiguousarray(words).view(_INT))
        self.tensor = BinarySharedTensor.from_shares(packed, precision=0)
        self.columns = columns

    @property
    def words(self) -> np.ndarray:
        """This node's share, uint64 (rows, W)."""
        return self.tensor.share.numpy().view(np.uint64)


class SharedMatrix:
    """Updates (m, d) shared between the nodes, with their bits once somebody needs them.

    Attributes:
        share: int64 (m, d); its sum over nodes, modulo 2^(bits + drop), divided by 2^drop and
            rounded down, is the value. If `lifted`, drop is 0 and the sum holds modulo 2^64.
        bits: width of the values, sign included.
    """

    def __init__(self, share: np.ndarray, bits: int, drop: int = 0, lifted: bool = False) -> None:
        self.share = share
        self.bits = bits
        self.drop = drop
        self.lifted = lifted
        self.parts: Decomposed | None = None
        self.tensor: MPCTensor | None = None
        self.masked: Masked | None = None

    def rows(self, indices: list[int]) -> SharedMatrix:
        """Return some rows, with what is known about them; a mask is not carried over."""
        kept = SharedMatrix(self.share[indices], self.bits, self.drop, self.lifted)
        if self.parts is not None:
            kept.parts = Decomposed(
                self.parts.planes[:, indices],
                self.parts.high[indices],
                [words[indices] for words in self.parts.low_carries],
                [words[indices] for words in self.parts.top_carries],
            )
        if self.tensor is not None:
            kept.tensor = _carried(self.tensor.share.numpy()[indices])
        return kept


def _carried(share: np.ndarray) -> MPCTensor:
    """Return updates as CrypTen carries them: an `MPCTensor` at 16 fractional bits."""
    return MPCTensor.from_shares(torch.from_numpy(share), precision=FRACTION_BITS)


def wrap(share: np.ndarray, bits: int) -> Updates:
    """Wrap this node's shares int64 (m, d), valid modulo 2^bits, of encoded updates."""
    matrix = SharedMatrix(share, bits, lifted=bits == 64)
    return Updates(matrix, (share.shape[0], share.shape[1]), UNIT)


class SharedOps(FixedPointOps):
    """The ring of `FixedPointOps` on this node's shares."""

    def __init__(self, ring: Ring) -> None:
        super().__init__()
        self.ring = ring
        self.gates = ring.gates
        self._masked: list[SharedMatrix] = []

    def finish(self) -> None:
        """Release the dealer's masks, and forget what was opened under them."""
        self.ring.release_masks()
        for matrix in self._masked:
            matrix.masked = None
        self._masked.clear()

    # --- small arrays ---

    def _constant_like(self, value: int, count: int) -> ArithmeticSharedTensor:
        return _ring(self.ring.constant(value, (count,)))

    def _constant_as(self, like: ArithmeticSharedTensor, value: int) -> ArithmeticSharedTensor:
        return _ring(self.ring.constant(value, tuple(like.share.shape)))

    def _plus(self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(_share(a) + _share(b))

    def _minus(
        self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor
    ) -> ArithmeticSharedTensor:
        return _ring(_share(a) - _share(b))

    def _times(
        self, a: ArithmeticSharedTensor, factor: int | torch.Tensor
    ) -> ArithmeticSharedTensor:
        other = factor.numpy() if isinstance(factor, torch.Tensor) else _INT(factor)
        return _ring(_share(a) * other)

    def _product(
        self, a: ArithmeticSharedTensor, b: ArithmeticSharedTensor
    ) -> ArithmeticSharedTensor:
        return _ring(self.ring.product(_share(a), _share(b)))

    def _floor_shift(self, a: ArithmeticSharedTensor, drop: int) -> ArithmeticSharedTensor:
        share = _share(a)
        flat = share.reshape(1, -1)
        result = self.ring.compose(self.ring.decompose(flat, 64 - drop, drop))
        return _ring(result.reshape(share.shape))

    def _sign_words(self, share: np.ndarray) -> np.ndarray:
        """Return words (rows, W) of [x < 0] for shares (rows, columns)."""
        planes = self.ring.decompose(share, 64, carries=False).planes
        return self.gates.not_(planes[63])

    def _negative(self, a: ArithmeticSharedTensor) -> SharedBits:
        share = _share(a)
        flat = share.reshape(-1, share.shape[-1])
        return SharedBits(self._sign_words(flat), flat.shape[1])

    def _bits_to_ring(self, bits: SharedBits) -> ArithmeticSharedTensor:
        ring = self.ring.inject(bits.words, bits.columns)
        return _ring(ring[0] if len(ring) == 1 else ring)

    def _and(self, a: SharedBits, b: SharedBits) -> SharedBits:
        return SharedBits(self.gates.and_(a.words, b.words), a.columns)

    def _not(self, a: SharedBits) -> SharedBits:
        return SharedBits(self.gates.not_(a.words), a.columns)

    def _thermometer(self, a: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        share = _share(a).reshape(1, -1)
        planes = self.ring.decompose(share, 64, carries=False).planes[:62, 0]  # (62, W)
        either = self._or(planes[0::2], planes[1::2])  # (31, W)
        span = 1
        while span < len(either):
            # Suffix OR: after this step, entry j covers j .. j + 2 span - 1.
            joined = self._or(either[:-span], either[span:])
            either = np.concatenate([joined, either[-span:]])
            span *= 2
        ring = self.ring.inject(np.ascontiguousarray(either), share.shape[1])  # (31, count)
        return _ring(np.ascontiguousarray(ring.T).reshape(*a.share.shape, len(either)))

    def _or(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        return x ^ y ^ self.gates.and_(np.ascontiguousarray(x), np.ascontiguousarray(y))

    def _kth(
        self, a: ArithmeticSharedTensor, ranks: tuple[int, ...]
    ) -> list[ArithmeticSharedTensor]:
        """Rank by comparing all pairs, in a number of rounds that hardly grows with m.

        before[j, i] = [element j sorts before i], ties by index: a_j < a_i, or a_j = a_i and
        j < i, which is not a_i < a_j. The rank of i is their number over j.
        """
        share = _share(a)  # (m,)
        m = len(share)
        difference = share[:, None] - share[None, :]  # a_j - a_i at [j, i]
        earlier = np.arange(m)[:, None] < np.arange(m)[None, :]  # j < i
        words = self._sign_words(np.where(earlier, -difference, difference))
        flip = np.zeros((m, word_count(m) * 64), np.uint8)
        flip[:, :m] = earlier
        packed = np.packbits(flip, axis=-1, bitorder="little").view(np.uint64)
        before = self.gates.flip(words, packed)  # (j, W over i)
        count = circuits.count_bits(self.gates, before)
        chosen = [self._equals(count, k) for k in ranks]  # (W,) each
        onehot = self.ring.inject(np.stack(chosen), m)  # (K, m)
        values = self.ring.product(onehot, share[None, :]).sum(axis=1)
        return [_ring(values[k : k + 1]) for k in range(len(ranks))]

    def _equals(self, number: Sequence[np.ndarray], value: int) -> np.ndarray:
        """Return words of [number = value] for planes, lowest first, and a public value."""
        matches = [
            plane if value >> j & 1 else self.gates.not_(plane) for j, plane in enumerate(number)
        ]
        return reduce(self.gates.and_, matches)

    def _sum_last(self, a: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(_share(a).sum(axis=-1))

    def _weigh_last(
        self, a: ArithmeticSharedTensor, weights: torch.Tensor
    ) -> ArithmeticSharedTensor:
        return _ring((_share(a) * weights.numpy()).sum(axis=-1))

    def _diagonal(self, a: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(_share(a).diagonal().copy())

    def _expand(self, a: ArithmeticSharedTensor, axis: int, count: int) -> ArithmeticSharedTensor:
        share = np.expand_dims(_share(a), axis)
        return _ring(np.repeat(share, count, axis=axis))

    def _open_ring(self, a: ArithmeticSharedTensor) -> torch.Tensor:
        return torch.from_numpy(self.ring.open(_share(a)))

    def _open_bits(self, a: SharedBits, shape: tuple[int, ...]) -> torch.Tensor:
        words = np.ascontiguousarray(self.gates.open(a.words))
        bits = np.unpackbits(words.view(np.uint8), axis=-1, count=a.columns, bitorder="little")
        return torch.from_numpy(bits.astype(bool)).reshape(shape)

    # --- updates ---

    def _decomposed(self, x: SharedMatrix) -> Decomposed:
        if x.parts is None:
            x.parts = self.ring.decompose(x.share, x.bits, x.drop, carries=not x.lifted)
        return x.parts

    def _lifted(self, x: SharedMatrix) -> np.ndarray:
        """Return shares modulo 2^64 of the values, (m, d)."""
        if x.lifted:
            return x.share
        if x.tensor is None:
            x.tensor = _carried(self.ring.compose(self._decomposed(x)))
        return x.tensor.share.numpy()

    def _under_mask(self, x: SharedMatrix) -> Masked:
        if x.masked is None:
            x.masked = self.ring.masked(self._lifted(x))
            self._masked.append(x)
        return x.masked

    def _bits(self, x: SharedMatrix) -> int:
        return x.bits

    def _rows(self, x: SharedMatrix, indices: list[int]) -> SharedMatrix:
        return x.rows(indices)

    def _join(self, parts: list[SharedMatrix]) -> SharedMatrix:
        share = np.concatenate([self._lifted(part) for part in parts])
        return SharedMatrix(share, max(part.bits for part in parts), lifted=True)

    def _sum(self, x: SharedMatrix, y: SharedMatrix, bits: int) -> SharedMatrix:
        return SharedMatrix(self._lifted(x) + self._lifted(y), bits, lifted=True)

    def _norms(self, x: SharedMatrix) -> ArithmeticSharedTensor:
        return _ring(self.ring.squared_norms(self._under_mask(x)))

    def _vector_norm(self, v: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(self.ring.squared_norms(self.ring.masked(_share(v)[None])))

    def _gram(self, x: SharedMatrix) -> ArithmeticSharedTensor:
        return _ring(self.ring.gram(self._under_mask(x)))

    def _row_dot(self, x: SharedMatrix, v: ArithmeticSharedTensor) -> ArithmeticSharedTensor:
        return _ring(self.ring.row_dot(self._under_mask(x), _share(v)))

    def _row_dot_public(self, x: SharedMatrix, v: torch.Tensor) -> ArithmeticSharedTensor:
        return _ring(self._lifted(x) @ v.numpy())

    def _scale_rows(
        self, x: SharedMatrix, factors: ArithmeticSharedTensor, drop: int
    ) -> SharedMatrix:
        share = self.ring.row_scale(self._under_mask(x), _share(factors))
        return SharedMatrix(share, x.bits, drop)

    def _order(self, x: SharedMatrix, ranks: tuple[int, ...]) -> list[ArithmeticSharedTensor]:
        planes = self._decomposed(x).planes  # (b, m, W)
        found = self._select(planes, ranks).planes  # (K, b, W)
        d = x.share.shape[1]
        bits = self.ring.inject(found.reshape(-1, found.shape[-1]), d)
        weights = _INT(1) << np.arange(x.bits, dtype=_INT)
        offset = self.ring.constant(1 << (x.bits - 1), (1,))
        values = np.einsum("kbd,b->kd", bits.reshape(len(ranks), x.bits, d), weights) - offset
        return [_ring(value) for value in values]

    def _select(self, planes: np.ndarray, ranks: tuple[int, ...]) -> circuits.Selection:
        bits, m, words = planes.shape
        self.ring.source.reserve_ands(selection_cost(bits, m, ranks)[0] * words)
        return circuits.select(self.gates, planes, ranks)

    def _middle(self, x: SharedMatrix, trim: int) -> SharedBits:
        planes = self._decomposed(x).planes
        _, m, words = planes.shape
        # The row's number as lowest bits makes all values distinct.
        width = max(1, (m - 1).bit_length())
        number = (np.arange(m)[None, :] >> np.arange(width)[:, None]) & 1  # (width, m)
        mine = np.where(number, ~np.uint64(0), np.uint64(0)) if self.ring.leader else 0 * number
        low = np.broadcast_to(mine[:, :, None].astype(np.uint64), (width, m, words))
        found = self._select(np.concatenate([low, planes]), (trim, m - 1 - trim))
        # Beyond the lower bound from below, beyond the upper from above: decided, and the last
        # bit tells the side. Never both.
        side = np.stack([self.gates.not_(found.last[0]), found.last[1]])
        beyond = self.gates.and_(found.decided, side)
        kept = self.gates.not_(beyond[0] ^ beyond[1])
        return SharedBits(kept, x.share.shape[1])

    def _mix(
        self,
        mask: SharedBits,
        x: SharedMatrix,
        other: ArithmeticSharedTensor | None,
        factor: int,
    ) -> SharedMatrix:
        value = self._lifted(x) * _INT(factor)
        bits = x.bits + factor.bit_length() - 1
        if other is None:
            return SharedMatrix(self.ring.choose(mask.words, value), bits, lifted=True)
        rest = _share(other)
        chosen = self.ring.choose(mask.words, value - rest) + rest
        return SharedMatrix(chosen, bits, lifted=True)

    def _weigh(self, x: SharedMatrix, weights: torch.Tensor) -> ArithmeticSharedTensor:
        return _ring(weights.numpy() @ self._lifted(x))
