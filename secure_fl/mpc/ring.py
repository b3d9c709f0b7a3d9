"""Arithmetic on additive shares modulo 2^64, and conversions to and from XOR-shared bits.

Bracketed values are shared, bare ones opened. All functions work on this node's share, an int64
array whose sum over the nodes, modulo 2^64, is the value. Nothing here rounds at random: where
CrypTen divides shares locally, which is off by one or, rarely, by 2^48, `Ring.decompose` finds
the carries and floors exactly.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from secure_fl.mpc import gates as circuits
from secure_fl.mpc.correlations import NodeSource, unpack_bits, word_count
from secure_fl.mpc.gates import CountingGates, Gates
from secure_fl.mpc.transport import Mesh
from secure_fl.mpc.words import to_planes

_INT = np.int64


@dataclass
class Masked:
    """A matrix opened under a mask that the dealer keeps: x = opened + mask."""

    number: int
    mask: np.ndarray
    opened: np.ndarray


@dataclass
class Decomposed:
    """Bits of a shared integer, offset to be unsigned.

    Attributes:
        planes: (bits, rows, W), XOR shares of floor(x / 2^drop) + 2^(bits-1).
        high: (rows, columns), this node's share modulo 2^(bits + drop), shifted right by drop.
        low_carries, top_carries: words (rows, W) each, one a node added: carries into bit `drop`
            and out of the top.
    """

    planes: np.ndarray
    high: np.ndarray
    low_carries: list[np.ndarray]
    top_carries: list[np.ndarray]


@lru_cache(maxsize=256)
def _adder_words(bits: int, watch: tuple[int, ...], words: int) -> int:
    """Return the AND words of one addition of planes of `words` words."""
    counter = CountingGates()
    width = 1 if words > circuits.PREFIX_WORDS else words
    planes = np.zeros((bits, width), np.uint64)
    circuits.add(counter, planes, planes, watch) if width == words else circuits.add_ripple(
        counter, planes, planes, watch
    )
    return counter.words * words // width


class Ring:
    """Protocols between nodes on ring shares."""

    def __init__(self, mesh: Mesh, source: NodeSource) -> None:
        self.mesh = mesh
        self.source = source
        self.gates = Gates(mesh, source)
        self.leader = mesh.rank == 0
        self._masks: list[int] = []

    def constant(self, value: np.ndarray | int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return shares of a public value: node 0 holds it."""
        array = np.asarray(value, _INT)
        full = np.broadcast_to(array, array.shape if shape is None else shape).copy()
        return full if self.leader else np.zeros_like(full)

    def open(self, x: np.ndarray) -> np.ndarray:
        """Return x in the clear, at every node: one round, 8 bytes an element."""
        total = np.array(x, _INT)
        for theirs in self.mesh.exchange(total.copy()):
            total += theirs
        return total

    def product(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return shares of x * y, elementwise with broadcasting (Beaver, CRYPTO 1991).

        1. Take [a], [b], [c] with c = a b.   2. Open e = x - a and f = y - b.
        3. Return [c] + e [b] + f [a] + e f.
        """
        x, y = np.broadcast_arrays(x, y)
        shape, count = x.shape, x.size
        a, b, c = self.source.products(count)
        e, f = self.open(np.stack([x.reshape(-1) - a, y.reshape(-1) - b]))
        result = c + e * b + f * a
        if self.leader:
            result += e * f
        return result.reshape(shape)

    # --- products with a masked matrix ---

    def masked(self, x: np.ndarray) -> Masked:
        """Open x (n, d) under a fresh mask: 8 n d bytes, once for all products with x."""
        number, mask = self.source.mask((x.shape[0], x.shape[1]))
        self._masks.append(number)
        return Masked(number, mask, self.open(x - mask))

    def release_masks(self) -> None:
        """Let the dealer forget all masks; what was opened under them must not be used again."""
        for number in self._masks:
            self.source.release(number)
        self._masks.clear()

    def squared_norms(self, x: Masked) -> np.ndarray:
        """Return shares of sum_d x^2, (n,): no further opening."""
        result = self.source.of_mask("norms", x.number, (len(x.mask),))
        result = result + 2 * np.einsum("nd,nd->n", x.opened, x.mask)
        if self.leader:
            result += np.einsum("nd,nd->n", x.opened, x.opened)
        return result

    def gram(self, x: Masked) -> np.ndarray:
        """Return shares of x x^T, (n, n): no further opening."""
        n = len(x.mask)
        cross = x.opened @ x.mask.T
        result = self.source.of_mask("gram", x.number, (n, n)) + cross + cross.T
        if self.leader:
            result += x.opened @ x.opened.T
        return result

    def row_dot(self, x: Masked, v: np.ndarray) -> np.ndarray:
        """Return shares of x v, (n,), for shared v (d,): opens 8 d bytes."""
        n, d = x.mask.shape
        b, result = self.source.with_mask("row_dot", x.number, d, (n,))
        f = self.open(v - b)
        result = result + x.opened @ b + x.mask @ f
        if self.leader:
            result += x.opened @ f
        return result

    def row_scale(self, x: Masked, factors: np.ndarray) -> np.ndarray:
        """Return shares of x_i f_i, (n, d), for shared factors (n,): opens 8 n bytes."""
        n, d = x.mask.shape
        b, result = self.source.with_mask("row_scale", x.number, n, (n, d))
        f = self.open(factors - b)
        result = result + x.opened * b[:, None]
        result += x.mask * f[:, None]
        if self.leader:
            result += x.opened * f[:, None]
        return result

    # --- bits ---

    def decompose(
        self, x: np.ndarray, bits: int, drop: int = 0, carries: bool = True
    ) -> Decomposed:
        """Find the bits of floor(x / 2^drop), -2^(bits-1) <= floor(x / 2^drop) < 2^(bits-1).

        x (rows, columns) is shared modulo at least 2^B, B = bits + drop.

        1. Each node reduces its share of x + 2^(B-1) modulo 2^B: t_i.
        2. The nodes add the t_i as bit planes, one node after the other. The planes from `drop`
           up are the result; the carries into bit `drop` and out of bit B are kept, since
           floor(x / 2^drop) = sum_i floor(t_i / 2^drop) + [low carries] - 2^bits [top carries]
           - 2^(bits-1) holds over the integers.
        """
        total = bits + drop
        offset = -(2**63) if total == 64 else 1 << (total - 1)
        shifted = x + self.constant(offset, ())
        mine = shifted.view(np.uint64)
        if total < 64:
            mine = mine & np.uint64((1 << total) - 1)
        own = to_planes(mine.view(_INT), total)
        zero = np.zeros_like(own)
        watch = (*((drop,) if drop else ()), total) if carries else ()
        words = _adder_words(total, watch, own[0].size)
        low: list[np.ndarray] = []
        top: list[np.ndarray] = []
        planes = own if self.leader else zero
        for node in range(1, self.mesh.size):
            self.source.reserve_ands(words)
            other = own if self.mesh.rank == node else zero
            planes, found = circuits.add(self.gates, planes, other, watch)
            if carries:
                top.append(found[total])
                if drop:
                    low.append(found[drop])
        high = (mine >> np.uint64(drop)).view(_INT)
        return Decomposed(planes[drop:], high, low, top)

    def compose(self, parts: Decomposed) -> np.ndarray:
        """Return ring shares of the signed integer whose bits were found: one round."""
        rows, columns = parts.high.shape
        bits = len(parts.planes)
        words = np.stack([*parts.low_carries, *parts.top_carries])  # (c, rows, W)
        ring = self.inject(words.reshape(-1, words.shape[-1]), columns)
        ring = ring.reshape(len(words), rows, columns)
        result = parts.high - self.constant(1 << (bits - 1), (1, 1))
        low = len(parts.low_carries)
        result = result + ring[:low].sum(axis=0)
        if bits < 64:
            result -= ring[low:].sum(axis=0) << bits
        return result

    def inject(self, words: np.ndarray, columns: int) -> np.ndarray:
        """Return ring shares (rows, columns) of the bits in words (rows, W): one round, 1 bit each.

        1. Take a random bit in both sharings, =r= and [r].   2. Open z = bit ^ r.
        3. Return z + (1 - 2 z) [r].
        """
        rows, width = words.shape
        r = self.source.bits(words.size * 64)
        z = self.gates.open(words.reshape(-1) ^ r.words)
        z_bits = unpack_bits(z.reshape(rows, width), columns)
        shares = r.ring.reshape(rows, width * 64)[:, :columns] * (1 - 2 * z_bits)
        return shares + z_bits if self.leader else shares

    def choose(self, words: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return ring shares of bit * y for bits in words (rows, W) and y (rows, columns).

        1. Take =r=, [r], [b] and [r b].   2. Open z = bit ^ r and f = y - b.
        3. Return z [y] + (1 - 2 z) (f [r] + [r b]): since bit = z + (1 - 2 z) r and y = f + b.
        """
        rows, columns = y.shape
        width = word_count(columns)
        source = self.source.bit_products(rows * width * 64)
        z = self.gates.open(words.reshape(-1) ^ source.words)
        z_bits = unpack_bits(z.reshape(rows, width), columns)

        def cut(part: np.ndarray) -> np.ndarray:
            return part.reshape(rows, width * 64)[:, :columns]

        f = self.open(y - cut(source.mask))
        r_times_y = f * cut(source.ring) + cut(source.product)
        return z_bits * y + (1 - 2 * z_bits) * r_times_y
