"""The protocols of `Ring` inside any CrypTen program, with CrypTen's own provider of triples.

Works after `crypten.init()`, with any number of parties, over any communicator and with the trusted
first party (TFP) or the trusted third party (TTP). An AND opens two words here, not one: the
provider cannot settle masks in advance. Safety is the provider's: under TFP party 0 knows all.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch

from secure_fl.mpc.bit_slicing import WORD_BITS, unpack_bits
from secure_fl.mpc.circuits import CIRCUITS
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.gates import BeaverGates, Triple
from secure_fl.mpc.planning import Network, block_width, counted
from secure_fl.mpc.ring import Masked, Ring
from secure_fl.mpc.wires import Wires, blocks, joined

crypten = import_crypten()

# CrypTen's default communicator on one machine: a collective takes a millisecond and more.
GLOO = Network(latency_ms=1.0, mbit=4000.0)


class CrypTenExchange:
    """All-to-all exchange over CrypTen's current communicator."""

    def __init__(self) -> None:
        communicator = crypten.communicator.get()
        self.rank: int = communicator.get_rank()
        self.size: int = communicator.get_world_size()

    def exchange(self, mine: np.ndarray) -> list[np.ndarray]:
        """Send `mine` to every peer; return what each peer sent, in order of rank."""
        own = np.require(mine, requirements=["C", "W"]).reshape(mine.shape).view(np.int64)
        parts = crypten.communicator.get().all_gather(torch.from_numpy(own))
        return [
            part.numpy().view(mine.dtype).reshape(mine.shape)
            for rank, part in enumerate(parts)
            if rank != self.rank
        ]


def _words(tensor: Any) -> np.ndarray:
    return tensor.share.numpy().view(np.uint64)


def _dispenser(pools: Sequence[np.ndarray]) -> Callable[[tuple[int, ...]], Triple]:
    """Hand out a pool of triples, shape by shape, until it is used up."""
    start = 0

    def take(shape: tuple[int, ...]) -> Triple:
        nonlocal start
        stop = start + int(np.prod(shape, dtype=np.int64))
        a, b, c = (pool[start:stop].reshape(shape) for pool in pools)
        start = stop
        return a, b, c

    return take


class ProviderRing(Ring):
    """Protocols with triples from CrypTen's provider; wires are plain XOR shares.

    A wire's public part is zero and its mask is the value; a matrix's opened part likewise.
    """

    def __init__(self, network: Network = GLOO) -> None:
        super().__init__(CrypTenExchange(), network)
        self._provider = crypten.mpc.get_default_provider()

    def wires(self, share: np.ndarray) -> Wires:
        """Return XOR shares of words as wires."""
        return Wires(-1, np.zeros_like(share), share)

    def product(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return shares of x * y, elementwise with broadcasting (Beaver, CRYPTO 1991).

        1. Take [a], [b], [c] with c = a b.   2. Open e = x - a and f = y - b.
        3. Return [c] + e [b] + f [a] + e f.
        """
        x, y = np.broadcast_arrays(x, y)
        size = torch.Size(x.shape)
        a, b, c = (
            part.share.numpy()
            for part in self._provider.generate_additive_triple(size, size, "mul")
        )
        e, f = self._masked_opened(np.stack([x - a, y - b]))
        result = c + e * b + f * a
        return result + e * f if self.leader else result

    def masked(self, x: np.ndarray) -> Masked:
        """Return x as it is: nothing is opened in advance."""
        return Masked(-1, x, np.zeros_like(x))

    def squared_norms(self, x: Masked) -> np.ndarray:
        """Return shares of sum_d x^2, (n,): opens 16 n d bytes."""
        return self.product(x.mask, x.mask).sum(axis=1)

    def gram(self, x: Masked) -> np.ndarray:
        """Return shares of x x^T, (n, n): opens 16 n d bytes, by one matrix triple."""
        return self._matrix_product(x.mask, x.mask.T)

    def combine(self, x: Masked, weights: np.ndarray) -> np.ndarray:
        """Return shares of w x, (k, d), for shared weights (k, n): opens 8 n (k + d) bytes."""
        return self._matrix_product(weights, x.mask)

    def _matrix_product(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        a, b, c = (
            part.share.numpy()
            for part in self._provider.generate_additive_triple(
                torch.Size(x.shape), torch.Size(y.shape), "matmul"
            )
        )
        e = self._masked_opened(x - a)
        f = self._masked_opened(y - b)
        result = c + e @ b + a @ f
        return result + e @ f if self.leader else result

    def row_dot(self, x: Masked, v: np.ndarray) -> np.ndarray:
        """Return shares of x v, (n,), for shared v (d,)."""
        return self.product(x.mask, v[None]).sum(axis=1)

    def row_scale(self, x: Masked, factors: np.ndarray) -> np.ndarray:
        """Return shares of x_i f_i, (n, d), for shared factors (n,)."""
        return self.product(x.mask, factors[:, None])

    def enter(self, own: np.ndarray) -> list[Wires]:
        """Turn each party's words into wires: no round, the other parties hold zeros."""
        return [
            self.wires(own if rank == self.mesh.rank else np.zeros_like(own))
            for rank in range(self.mesh.size)
        ]

    def run(self, name: str, *inputs: Wires, **params: Any) -> list[Wires]:
        """Run a circuit of `CIRCUITS` on XOR shares, block by block of its words.

        With one request for all triples of a block: memory does not grow with what is worked on.
        """
        params |= self.plan(name, inputs, params)
        circuit = CIRCUITS[name]
        shares = [wires.xor_share(self.leader) for wires in inputs]
        shapes = [share.shape for share in shares]
        ands, _ = counted(name, shapes, params)  # of one word a row
        outputs = []
        for block in blocks(shapes[0][-1], block_width(name, shapes, params)):
            size = torch.Size((ands * (block.stop - block.start),))
            pools = [_words(part) for part in self._provider.generate_binary_triple(size, size)]
            gates = BeaverGates(self.mesh, _dispenser(pools))
            outputs.append(circuit(gates, *(share[..., block] for share in shares), **params))
        return [self.wires(out) for out in joined(outputs)]

    def rows(self, wires: Wires, rows: Sequence[int]) -> Wires:
        """Return some rows of wires (..., rows, W)."""
        rows = list(rows)
        return Wires(-1, wires.masked[..., rows, :], wires.share[..., rows, :])

    def b2a(self, wires: Wires, columns: int, index: tuple[int, ...] = ()) -> np.ndarray:
        """Return ring shares (rows, columns) of the bits in wires[index] (rows, W): one round.

        1. Take a random bit in both sharings, =r= and [r].   2. Open z = bit ^ r.
        3. Return z + (1 - 2 z) [r].
        """
        share = wires.xor_share(self.leader)[index]
        rows, width = share.shape
        size = torch.Size((rows, width * WORD_BITS))
        ring, binary = self._provider.B2A_rng(size)
        bits = (_words(binary) & np.uint64(1)).astype(np.uint8)
        mask = np.packbits(bits, axis=-1, bitorder="little").view(np.uint64)
        z = np.array(share ^ mask)
        for theirs in self.mesh.exchange(z.copy()):
            z ^= theirs
        opened = unpack_bits(z, columns)
        result = ring.share.numpy()[:, :columns] * (1 - 2 * opened)
        return result + opened if self.leader else result

    def mux(self, wires: Wires, y: Masked) -> np.ndarray:
        """Return ring shares of bit * y, for bits in wires (rows, W): two rounds."""
        return self.product(self.b2a(wires, y.mask.shape[1]), y.mask)
