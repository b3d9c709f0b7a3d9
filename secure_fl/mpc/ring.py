"""Arithmetic on additive shares modulo 2^64, and conversions to and from bits on masked wires.

Bracketed values are shared, bare ones opened. All functions work on this node's share, an int64
array whose sum over the nodes, modulo 2^64, is the value. Nothing here rounds at random: where
CrypTen divides shares locally, which is off by one or, rarely, by 2^48, `Ring.a2b` finds
the carries and floors exactly.

`Ring` holds what needs no correlated randomness; `DealerRing` takes it from the dealer process,
`secure_fl.mpc.provider.ProviderRing` from CrypTen's provider.
"""

from __future__ import annotations

import itertools
import math
import os
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from dataclasses import dataclass
from typing import Any

import numpy as np

from secure_fl.aggregation.openings import Permit
from secure_fl.errors import require
from secure_fl.mpc import disclosure
from secure_fl.mpc.bit_slicing import to_planes, unpack_bits, word_count
from secure_fl.mpc.circuits import CIRCUITS
from secure_fl.mpc.correlations import NodeSource
from secure_fl.mpc.planning import Network, block_width, cheapest
from secure_fl.mpc.prg import KEY_BYTES, Nonces
from secure_fl.mpc.transport import Exchange, Mesh
from secure_fl.mpc.wires import EvaluateGates, PrepareGates, Wires, blocks, joined

_INT = np.int64


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
        array = np.asarray(value, _INT)
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
        high = (mine >> np.uint64(drop) if drop else mine).view(_INT)
        return planes, Rest(high, words, self.mesh.size - 1 if drop else 0)

    def _reduced(self, x: np.ndarray, total: int) -> tuple[np.ndarray, list[Wires]]:
        """Return this node's share of x + 2^(B-1) modulo 2^B, and all nodes' as wires."""
        offset = -(2**63) if total == 64 else 1 << (total - 1)
        mine = (x + _INT(offset if self.leader else 0)).view(np.uint64)
        if total < 64:
            mine &= np.uint64((1 << total) - 1)
        return mine, self.enter(to_planes(mine.view(_INT), total))

    def on_bits(self, circuit: str, x: np.ndarray, **params: Any) -> Wires:
        """Run a circuit that takes the nodes' 64-bit planes of x (rows, columns) offset by 2^63."""
        _, inputs = self._reduced(x, 64)
        (result,) = self.run(circuit, *inputs, **params)
        self.release(inputs)
        return result

    def compose(self, bits: int, parts: Rest) -> np.ndarray:
        """Return ring shares of the signed integer whose `bits` bits were found: no round."""
        columns = parts.high.shape[1]
        result = parts.high - _INT(1 << (bits - 1) if self.leader else 0)
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
        low = x & _INT((1 << drop) - 1)
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


class DealerRing(Ring):
    """The protocols with a dealer's correlations and masked wires: the federation's own."""

    def __init__(
        self,
        mesh: Mesh,
        source: NodeSource,
        network: Network | None = None,
        nonces: Nonces | None = None,
    ) -> None:
        super().__init__(mesh, network or Network(), nonces)
        self.mesh: Mesh = mesh
        self.source = source
        several = len(mesh.lanes) > 1
        self._threads = ThreadPoolExecutor(len(mesh.lanes)) if several else None

    def release(self, wires: Sequence[Wires]) -> None:
        """Let the dealer forget the masks of these wires."""
        self.source.release([w.number for w in wires])

    def finish(self) -> None:
        """Let the dealer forget all masks; what was opened under them must not be used again.

        Raises:
            NodeFailure: requests and corrections are out of step.
        """
        self.source.release_all()
        self.source.require_step()

    def product(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return shares of x * y, elementwise with broadcasting (Beaver, CRYPTO 1991).

        1. Take [a], [b], [c] with c = a b.   2. Open e = x - a and f = y - b.
        3. Return [c] + e [b] + f [a] + e f.
        """
        x, y = np.broadcast_arrays(x, y)
        shape, count = x.shape, x.size
        a, b, c = self.source.products(count)
        e, f = self._masked_opened(np.stack([x.reshape(-1) - a, y.reshape(-1) - b]))
        result = c + e * b + f * a
        if self.leader:
            result += e * f
        return result.reshape(shape)

    # --- products with a masked matrix ---

    def masked(self, x: np.ndarray) -> Masked:
        """Open x (n, d) under a fresh mask: 8 n d bytes, once for all products with x."""
        number, mask = self.source.mask((x.shape[0], x.shape[1]))
        return Masked(number, mask, self._masked_opened(x - mask))

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
        f = self._masked_opened(v - b)
        result = result + x.opened @ b + x.mask @ f
        if self.leader:
            result += x.opened @ f
        return result

    def row_scale(self, x: Masked, factors: np.ndarray) -> np.ndarray:
        """Return shares of x_i f_i, (n, d), for shared factors (n,): opens 8 n bytes."""
        n, d = x.mask.shape
        b, result = self.source.with_mask("row_scale", x.number, n, (n, d))
        f = self._masked_opened(factors - b)
        result = result + x.opened * b[:, None]
        result += x.mask * f[:, None]
        if self.leader:
            result += x.opened * f[:, None]
        return result

    def combine(self, x: Masked, weights: np.ndarray) -> np.ndarray:
        """Return shares of w x, (k, d), for shared weights (k, n): opens 8 k n bytes.

        1. Take [b] (k, n) and [b A] for x = f + A, f opened before.   2. Open e = w - b.
        3. Return [b A] + [b] f + e [A] + e f.
        """
        b, result = self.source.combination(x.number, weights.shape, x.mask.shape[1])
        e = self._masked_opened(weights - b)
        by = b + e if self.leader else b
        result = result + np.einsum("kn,nd->kd", by, x.opened)
        result += np.einsum("kn,nd->kd", e, x.mask)
        return result

    # --- bits ---

    def enter(self, own: np.ndarray) -> list[Wires]:
        """Turn words that each node holds (one shape) into wires: one round, 8 bytes a word.

        1. Node i draws r_i, which the dealer knows too.   2. It opens m_i = own ^ r_i.
        Node i's wires have m_i as public part; their mask's only share that is not zero is r_i.
        """
        first, mask = self.source.input(own.shape, self.mesh.size)
        mine = own ^ mask
        theirs = iter(self.mesh.exchange(mine))
        nothing = np.broadcast_to(np.uint64(0), own.shape)
        return [
            Wires(first + rank, mine, mask)
            if rank == self.mesh.rank
            else Wires(first + rank, next(theirs), nothing)
            for rank in range(self.mesh.size)
        ]

    def run(self, name: str, *inputs: Wires, **params: Any) -> list[Wires]:
        """Run a circuit of `CIRCUITS` on wires; the dealer makes corrections as it goes.

        The words are cut in blocks, prepared one after the other; the dealer works ahead. On each
        of the network's lanes a block is evaluated meanwhile: one computes, while another's words
        are under way. Time counts as offline only while no block is evaluated.
        """
        params |= self.plan(name, inputs, params)
        shapes = [wires.masked.shape for wires in inputs]
        width = block_width(name, shapes, params, self.network.lanes)
        self.source.request(
            "circuit",
            first=self.source.next_number,
            name=name,
            inputs=[wires.number for wires in inputs],
            width=width,
            params=params,
        )
        circuit, lanes = CIRCUITS[name], itertools.cycle(self.mesh.lanes)
        shares: list[tuple[np.ndarray, ...]] = []
        masked: list[tuple[np.ndarray, ...]] = []
        pending: deque[Future[tuple[np.ndarray, ...]]] = deque()
        with ExitStack() as stack:
            if self._threads is not None:
                stack.callback(self.mesh.close)  # if one lane fails, let no other wait
            for block in blocks(shapes[0][-1], width):
                if len(pending) == len(self.mesh.lanes):
                    masked.append(pending.popleft().result())
                busy = not all(evaluation.done() for evaluation in pending)
                with nullcontext() if busy else self.source.offline():
                    prepare = PrepareGates(self.source.stream, self.source.correction)
                    parts = [wires.share[..., block] for wires in inputs]
                    shares.append(circuit(prepare, *parts, **params))
                evaluate = EvaluateGates(next(lanes), prepare.steps)
                parts = [wires.masked[..., block] for wires in inputs]
                if self._threads is None:
                    masked.append(circuit(evaluate, *parts, **params))
                else:
                    pending.append(self._threads.submit(circuit, evaluate, *parts, **params))
            masked.extend(evaluation.result() for evaluation in pending)
            stack.pop_all()
        outputs = list(zip(joined(masked), joined(shares), strict=True))
        first = self.source.keep(len(outputs))
        return [Wires(first + i, *parts) for i, parts in enumerate(outputs)]

    def rows(self, wires: Wires, rows: Sequence[int]) -> Wires:
        """Return some rows of wires (..., rows, W): no round."""
        rows = list(rows)
        first = self.source.keep(1)
        self.source.request("rows", first=first, number=wires.number, rows=rows)
        return Wires(first, wires.masked[..., rows, :], wires.share[..., rows, :])

    def b2a(self, wires: Wires, columns: int, index: tuple[int, ...] = ()) -> np.ndarray:
        """Return ring shares (rows, columns) of the bits in wires[index] (rows, W): no round.

        The dealer shares the mask's bits [r] in the ring; the bit is m + (1 - 2 m) [r].
        """
        words = wires.masked[index]
        result = np.empty((len(words), columns), _INT)
        shape = result.shape[0], columns
        for block, part, mask in self.source.bits(wires.number, index, shape):
            signs = -unpack_bits(words[:, part], mask.shape[1])
            share = negated(mask, signs, out=result[:, block])
            if self.leader:
                share -= signs
        return result

    def mux(self, wires: Wires, y: Masked) -> np.ndarray:
        """Return ring shares of bit * y, for bits in wires (rows, W): no round.

        y is (rows, columns) or (1, columns). The dealer shares [r] and [r a] for the masks r of
        the bits and a of y. With y = f + a,
        bit * y = m [y] + (1 - 2 m) (f [r] + [r a]).
        """
        columns = y.mask.shape[1]
        result = np.empty((len(wires.masked), columns), _INT)
        shape = len(result), columns
        for block, part, r, product in self.source.mux(wires.number, y.number, shape):
            signs = -unpack_bits(wires.masked[:, part], r.shape[1])
            opened, own = y.opened[:, block], y.mask[:, block]
            if self.leader:
                own = own + opened
            r *= opened
            r += product
            share = negated(r, signs, out=result[:, block])
            share += own & signs
        return result
