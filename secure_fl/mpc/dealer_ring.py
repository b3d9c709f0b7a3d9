"""The ring with the dealer's randomness: multiplications, conversions, circuits among nodes."""

from __future__ import annotations

import itertools
from collections import deque
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, nullcontext
from typing import Any

import numpy as np

from secure_fl.mpc.bit_slicing import unpack_bits
from secure_fl.mpc.circuits import CIRCUITS
from secure_fl.mpc.correlations import NodeSource
from secure_fl.mpc.planning import Network, block_width
from secure_fl.mpc.prg import Nonces
from secure_fl.mpc.ring import INT, Masked, Ring, negated
from secure_fl.mpc.transport import Mesh
from secure_fl.mpc.wires import EvaluateGates, PrepareGates, Wires, blocks, joined


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
        result = np.empty((len(words), columns), INT)
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
        result = np.empty((len(wires.masked), columns), INT)
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
