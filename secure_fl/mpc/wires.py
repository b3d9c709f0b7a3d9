"""Masked wires: a circuit's masks are settled in advance, so that an AND opens one word, not two.

Each wire x is x = m ^ r with m public to the nodes and r a random mask, XOR-shared between the
nodes and known to the dealer, who never sees m. XOR works on both parts alone. For z = x & y,

    m_z = m_x m_y ^ m_x r_y ^ m_y r_x ^ (r_x r_y ^ r_z)

is linear in shares once the dealer has shared g = r_x r_y ^ r_z, which depends on no input. So a
circuit runs three times with the same code: `DealerGates` on masks, making node 0's share of each
g; `PrepareGates` on a node's mask shares, collecting r_x, r_y and g of each AND (both offline); and
`EvaluateGates` on the public parts, opening one word an AND (online). The idea is
circuit-dependent preprocessing (Ben-Efraim, Nielsen, Omri, ACNS 2019; ABY2.0, USENIX Security
2021).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from secure_fl.mpc.circuits import CIRCUITS
from secure_fl.mpc.gates import Gates
from secure_fl.mpc.prg import Stream
from secure_fl.mpc.transport import Exchange


@dataclass(frozen=True)
class Wires:
    """Secret words at a node: value = masked ^ the XOR of all nodes' `share`.

    Attributes:
        number: under which the dealer keeps the mask.
        masked: uint64 (..., W), equal at all nodes.
        share: uint64 (..., W), this node's share of the mask.
    """

    number: int
    masked: np.ndarray
    share: np.ndarray

    def xor_share(self, leader: bool) -> np.ndarray:
        """Return this node's XOR share of the value."""
        return self.masked ^ self.share if leader else np.array(self.share)


class Step(NamedTuple):
    """What preparation leaves for one AND layer: shares of both masks and of g."""

    x: np.ndarray
    y: np.ndarray
    g: np.ndarray


class DealerGates(Gates):
    """Runs a circuit on masks and sends node 0's share of every g.

    Args:
        streams: the dealer's copy of each node's stream.
        send: takes the corrections, in order.
    """

    def __init__(self, streams: Sequence[Stream], send: Callable[[np.ndarray], None]) -> None:
        self._streams = streams
        self._send = send

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Draw the mask of the product; send its correction."""
        correction = x & y
        mask = self._streams[0].words(x.shape)
        for stream in self._streams[1:]:
            mask ^= stream.words(x.shape)
            correction ^= stream.words(x.shape)
        correction ^= mask
        self._send(correction)
        return mask

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return x: public bits change the public part alone."""
        return x

    def constant(self, public: np.ndarray) -> np.ndarray:
        """Return zeros: what is public has no mask."""
        return np.zeros_like(public)


class PrepareGates(Gates):
    """Runs a circuit on a node's mask shares and keeps a `Step` of every AND.

    Args:
        stream: the stream shared with the dealer.
        correction: returns the dealer's next correction in the shape given; None but at node 0.
    """

    def __init__(
        self, stream: Stream, correction: Callable[[tuple[int, ...]], np.ndarray] | None
    ) -> None:
        self._stream = stream
        self._correction = correction
        self.steps: list[Step] = []

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Draw the share of the product's mask."""
        mask = self._stream.words(x.shape)
        source = self._stream.words if self._correction is None else self._correction
        self.steps.append(Step(x, y, source(x.shape)))
        return mask

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return x."""
        return x

    def constant(self, public: np.ndarray) -> np.ndarray:
        """Return zeros."""
        return np.zeros_like(public)


class EvaluateGates(Gates):
    """Runs a circuit on public parts, one exchange a layer, with the steps prepared before."""

    def __init__(self, mesh: Exchange, steps: Sequence[Step]) -> None:
        self._mesh = mesh
        self._steps = iter(steps)
        self._leader = mesh.rank == 0

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Open the masked product: g ^ (m_x & r_y) ^ (m_y & r_x), and m_x & m_y at node 0."""
        step = next(self._steps)
        # m_x & m_y ^ m_x & r_y = m_x & (m_y ^ r_y)
        result = np.bitwise_and(x, y ^ step.y if self._leader else step.y)
        result ^= step.g
        other = np.bitwise_and(y, step.x)
        result ^= other
        for theirs in self._mesh.exchange(result):
            result = result ^ theirs
        return result

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return x ^ public."""
        return x ^ public

    def constant(self, public: np.ndarray) -> np.ndarray:
        """Return the words themselves."""
        return public


def blocks(words: int, width: int) -> Iterator[slice]:
    """Cut a circuit's words into blocks of `width`, at least one."""
    for start in range(0, max(words, 1), width):
        yield slice(start, min(start + width, words))


def joined(parts: Sequence[tuple[np.ndarray, ...]]) -> list[np.ndarray]:
    """Put the outputs of all blocks together along the words."""
    if len(parts) == 1:
        return [np.ascontiguousarray(array) for array in parts[0]]
    return [np.concatenate(arrays, axis=-1) for arrays in zip(*parts, strict=True)]


def deal(
    gates: DealerGates,
    circuit: str,
    inputs: Sequence[np.ndarray],
    width: int,
    params: dict[str, Any],
) -> list[np.ndarray]:
    """Run a circuit at the dealer, by blocks of `width` words; return the masks of its outputs.

    Raises:
        ValueError: there is no circuit of that name.
    """
    if circuit not in CIRCUITS:
        raise ValueError(f"circuit must be one of {sorted(CIRCUITS)}; got {circuit!r}")
    run = CIRCUITS[circuit]
    parts = [
        run(gates, *(mask[..., block] for mask in inputs), **params)
        for block in blocks(inputs[0].shape[-1], width)
    ]
    return joined(parts)
