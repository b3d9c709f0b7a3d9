"""Arithmetic on additive shares modulo 2^64, and conversions to and from bits on masked wires.

Bracketed values are shared, bare ones opened. All functions work on this node's share, an int64
array whose sum over the nodes, modulo 2^64, is the value. Nothing here rounds at random: where
CrypTen divides shares locally, which is off by one or, rarely, by 2^48, `Ring.a2b` finds
the carries and floors exactly.

`Ring` holds what needs no correlated randomness; `DealerRing` takes it from the dealer process,
`secure_fl.mpc.provider.ProviderRing` from CrypTen's provider.
"""

from __future__ import annotations

import math
import os
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from secure_fl.aggregation.openings import Permit
from secure_fl.errors import require
from secure_fl.mpc import disclosure
from secure_fl.mpc.bit_slicing import to_planes, word_count
from secure_fl.mpc.planning import Network, cheapest
from secure_fl.mpc.prg import KEY_BYTES, Nonces
from secure_fl.mpc.transport import Exchange
from secure_fl.mpc.wires import Wires

INT = np.int64


@dataclass
class Masked:
    """A matrix opened under a mask that the dealer keeps: x = opened + mask."""

    number: int
    mask: np.ndarray
    opened: np.ndarray


@dataclass
class Rest:
    """What is left of a shared integer beside its bits: enough to put it together in the ring.

    Attributes:
        high: (rows, columns), this node's share modulo 2^(bits + drop), shifted right by drop.
        carries: (c, rows, W), into bit `drop` (the first `low`), then out of the top.
        low: number of carries into bit `drop`.
    """

    high: np.ndarray
    carries: Wires
    low: int


def negated(x: np.ndarray, signs: np.ndarray, out: np.ndarray) -> np.ndarray:
    """Put -x where `signs` is -1, x where it is 0, into `out`, without a multiplication.

    Processors without wide 64-bit multiplications take several times as long for (1 - 2 bit) * x.
    """
    np.bitwise_xor(x, signs, out=out)
    out -= signs
    return out


class Ring(ABC):
    """Protocols between nodes on ring shares; where masks come from is left to subclasses."""

    def __init__(self, mesh: Exchange, network: Network, nonces: Nonces | None = None) -> None:
        self.mesh = mesh
        self.network = network
        self._nonces = nonces or Nonces(os.urandom(KEY_BYTES))
        self.leader = mesh.rank == 0

    def plan(self, name: str, inputs: Sequence[Wires], params: dict[str, Any]) -> dict[str, str]:
        """Return the parameters with which a circuit is cheapest on this network."""
        shapes = [wires.masked.shape for wires in inputs]
        return cheapest(self.network, self.mesh.size, name, shapes, params)

    def constant(self, value: np.ndarray | int, shape: tuple[int, ...] | None = None) -> np.ndarray:
        """Return shares of a public value: node 0 holds it."""
        array = np.asarray(value, INT)
        full = np.broadcast_to(array, array.shape if shape is None else shape).copy()
        return full if self.leader else np.zeros_like(full)

    def reveal(self, x: np.ndarray, permit: Permit) -> np.ndarray:
        """Return x in the clear, at every node: three rounds, 8 bytes an element and 96.

        Raises:
            InputError: the permit is not for this opening, its shape or its kind.
            NodeFailure: see `disclosure.exchange`.
        """
        permit.spend(x.shape, is_bit=False)
        return disclosure.add(self.mesh, x, self._nonces)

    def _masked_opened(self, x: np.ndarray) -> np.ndarray:
        """Return x, of whose elements each carries a uniform mask that nobody else uses."""
        parts = self.mesh.exchange(x)
        total = parts[0] if parts else np.zeros_like(x)  # fresh arrays: add in place
        total += x
        for theirs in parts[1:]:
            total += theirs
        return total

    def reveal_wires(self, wires: Wires, permit: Permit) -> np.ndarray:
        """Return the words in the clear, at every node: three rounds, 8 bytes a word and 96.

        Raises:
            InputError: the permit is not for this opening, its shape or its kind.
            NodeFailure: see `disclosure.exchange`.
        """
        *rows, columns = shape = permit.opening.shape
        # Row by row, or all one after the other.
        words = (math.prod(rows), word_count(columns)), (1, word_count(math.prod(shape)))
        found = wires.masked.shape
        require(found in words, f"words opened as {permit.opening.name!r}", f"{words[0]}", found)
        permit.spend(shape, is_bit=True)
        return disclosure.xor(self.mesh, wires.masked, wires.share, self._nonces)

    def a2b(
        self, x: np.ndarray, bits: int, drop: int = 0, carries: bool = True
    ) -> tuple[Wires, Rest]:
        """Find the bits of floor(x / 2^drop), -2^(bits-1) <= floor(x / 2^drop) < 2^(bits-1).

        x (rows, columns) is shared modulo at least 2^B, B = bits + drop.

        1. Each node reduces its share of x + 2^(B-1) modulo 2^B: t_i.
        2. The nodes add the t_i as bit planes, one node after the other. The planes from `drop`
           up are the result; the carries into bit `drop` and out of bit B are kept, since
           floor(x / 2^drop) = sum_i floor(t_i / 2^drop) + [low carries] - 2^bits [top carries]
           - 2^(bits-1) holds over the integers.
        """
        mine, inputs = self._reduced(x, bits + drop)
        planes, words = self.run("a2b", *inputs, drop=drop, carries=carries)
        self.release(inputs)
        high = (mine >> np.uint64(drop) if drop else mine).view(INT)
        return planes, Rest(high, words, self.mesh.size - 1 if drop else 0)

    def _reduced(self, x: np.ndarray, total: int) -> tuple[np.ndarray, list[Wires]]:
        """Return this node's share of x + 2^(B-1) modulo 2^B, and all nodes' as wires."""
        offset = -(2**63) if total == 64 else 1 << (total - 1)
        mine = (x + INT(offset if self.leader else 0)).view(np.uint64)
        if total < 64:
            mine &= np.uint64((1 << total) - 1)
        return mine, self.enter(to_planes(mine.view(INT), total))

    def on_bits(self, circuit: str, x: np.ndarray, **params: Any) -> Wires:
        """Run a circuit that takes the nodes' 64-bit planes of x (rows, columns) offset by 2^63."""
        _, inputs = self._reduced(x, 64)
        (result,) = self.run(circuit, *inputs, **params)
        self.release(inputs)
        return result

    def compose(self, bits: int, parts: Rest) -> np.ndarray:
        """Return ring shares of the signed integer whose `bits` bits were found: no round."""
        columns = parts.high.shape[1]
        result = parts.high - INT(1 << (bits - 1) if self.leader else 0)
        for i in range(len(parts.carries.masked)):
            if i < parts.low:
                result += self.b2a(parts.carries, columns, (i,))
            elif bits < 64:
                carry = self.b2a(parts.carries, columns, (i,))
                carry <<= bits
                result -= carry
        return result

    def floor_shift(self, x: np.ndarray, drop: int) -> np.ndarray:
        """Return ring shares of floor(x / 2^drop), exactly, for signed x (rows, columns)."""
        _, rest = self.a2b(x, 64 - drop, drop)
        return self.compose(64 - drop, rest)

    def round_down(self, x: np.ndarray, drop: int) -> np.ndarray:
        """Return ring shares of 2^drop floor(x / 2^drop), exactly, for x (rows, columns).

        The low `drop` bits of the shares are added as bits; what carries out of them is all that
        the sum of the shares without those bits lacks. Holds modulo 2^64, for any x.
        """
        low = x & INT((1 << drop) - 1)
        inputs = self.enter(to_planes(low, drop))
        _, carries = self.run("a2b", *inputs, drop=0, carries=True)
        self.release(inputs)
        result = x - low
        for i in range(len(carries.masked)):
            carry = self.b2a(carries, x.shape[1], (i,))
            carry <<= drop
            result += carry
        return result

    # --- what subclasses provide ---

    @abstractmethod
    def product(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return shares of x * y, elementwise with broadcasting."""

    @abstractmethod
    def masked(self, x: np.ndarray) -> Masked:
        """Prepare x (n, d) for products."""

    @abstractmethod
    def squared_norms(self, x: Masked) -> np.ndarray:
        """Return shares of sum_d x^2, (n,)."""

    @abstractmethod
    def gram(self, x: Masked) -> np.ndarray:
        """Return shares of x x^T, (n, n)."""

    @abstractmethod
    def row_dot(self, x: Masked, v: np.ndarray) -> np.ndarray:
        """Return shares of x v, (n,), for shared v (d,)."""

    @abstractmethod
    def row_scale(self, x: Masked, factors: np.ndarray) -> np.ndarray:
        """Return shares of x_i f_i, (n, d), for shared factors (n,)."""

    @abstractmethod
    def combine(self, x: Masked, weights: np.ndarray) -> np.ndarray:
        """Return shares of w x, (k, d), for shared weights (k, n)."""

    @abstractmethod
    def enter(self, own: np.ndarray) -> list[Wires]:
        """Turn words that each node holds (one shape) into wires, one entry a node."""

    @abstractmethod
    def run(self, name: str, *inputs: Wires, **params: Any) -> list[Wires]:
        """Run a circuit of `CIRCUITS` on wires."""

    @abstractmethod
    def rows(self, wires: Wires, rows: Sequence[int]) -> Wires:
        """Return some rows of wires (..., rows, W): no round."""

    @abstractmethod
    def b2a(self, wires: Wires, columns: int, index: tuple[int, ...] = ()) -> np.ndarray:
        """Return ring shares (rows, columns) of the bits in wires[index] (rows, W)."""

    @abstractmethod
    def mux(self, wires: Wires, y: Masked) -> np.ndarray:
        """Return ring shares of bit * y, for bits in wires (rows, W), y (rows or 1, columns)."""

    def release(self, wires: Sequence[Wires]) -> None:  # noqa: B027
        """Let whoever keeps the masks of these wires forget them."""

    def finish(self) -> None:  # noqa: B027
        """Let whoever keeps masks forget all of them."""
