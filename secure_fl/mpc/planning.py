"""Which of several circuits for one task costs least on a given network.

A circuit's layers cost latency, its ANDs bandwidth: radix selection and ripple carries have many
narrow layers, comparison of all pairs and parallel-prefix carries few wide ones. Both are counted
on the circuit itself, so that the model cannot drift from the code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from secure_fl.errors import require
from secure_fl.mpc.circuits import CIRCUITS, count_ands

# Words of one bit plane, over all rows, that a circuit handles at a time: more makes fewer rounds,
# less keeps layers in the processor's cache; memory then does not grow with d.
BLOCK_WORDS = 40_960
# Bytes that a block's prepared steps may take: three words for every AND.
BLOCK_BYTES = 256 << 20
_AND_BYTES = 24

_ADDERS = tuple({"adder": name} for name in ("ripple", "prefix"))
_METHODS = tuple({"method": name} for name in ("radix", "pairwise"))
ALTERNATIVES: dict[str, tuple[dict[str, str], ...]] = {
    "a2b": _ADDERS,
    "negative": _ADDERS,
    "thermometer": _ADDERS,
    "rank_onehot": _ADDERS,
    "rank_below": _ADDERS,
    "order": _METHODS,
    "trimmed_mask": _METHODS,
    "nearest": _METHODS,
    "nearest_zero": _METHODS,
}

Shapes = tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Network:
    """What joins the computing nodes.

    Attributes:
        latency_ms: time of one exchange of nothing, processing included.
        mbit: throughput of one node, megabit a second, processing included.
        lanes: blocks of a circuit that are worked on side by side, so that one computes while
            another's words are under way.

    The defaults describe processes of one machine (measured: `secure-fl bench mpc`).
    """

    latency_ms: float = 0.06
    mbit: float = 2300.0
    lanes: int = 1

    def __post_init__(self) -> None:
        require(self.latency_ms >= 0, "latency_ms", "at least 0", self.latency_ms)
        require(self.mbit > 0, "mbit", "positive", self.mbit)
        require(1 <= self.lanes <= 8, "lanes", "1 to 8", self.lanes)

    def seconds(self, rounds: int, size: int) -> float:
        """Return the model's time for `rounds` exchanges in which a node sends `size` bytes."""
        return rounds * self.latency_ms / 1e3 + size * 8 / (self.mbit * 1e6)


def _key(value: Any) -> Any:
    return tuple(value) if isinstance(value, list) else value


@lru_cache(maxsize=4096)
def _counted(name: str, shapes: Shapes, params: tuple[tuple[str, Any], ...]) -> tuple[int, int]:
    wires = [np.zeros((*shape[:-1], 1), np.uint64) for shape in shapes]
    circuit = CIRCUITS[name]
    return count_ands(lambda gates: circuit(gates, *wires, **dict(params)))


def counted(
    name: str, shapes: Sequence[tuple[int, ...]], params: dict[str, Any]
) -> tuple[int, int]:
    """Return AND words for one word a row, and layers, of a circuit on inputs of these shapes."""
    rows = tuple((*shape[:-1], 1) for shape in shapes)
    items = tuple(sorted((key, _key(value)) for key, value in params.items()))
    return _counted(name, rows, items)


def block_width(
    name: str, shapes: Sequence[tuple[int, ...]], params: dict[str, Any], lanes: int = 1
) -> int:
    """Return how many words of a row a circuit handles at a time: enough for all lanes to work."""
    ands, _ = counted(name, shapes, params)
    rows, words = shapes[0][-2:]
    most = min(
        BLOCK_WORDS // max(rows, 1), BLOCK_BYTES // (_AND_BYTES * max(ands, 1)), -(-words // lanes)
    )
    return max(1, most)


def _fits(choice: dict[str, str], shapes: Sequence[tuple[int, ...]]) -> bool:
    """Whether one word of a row can be worked on in a block's memory.

    Comparing two of n values of B bits takes less than 3 B + 2 ANDs, a word for each pair: what is
    too large is not even counted, which would take that memory too.
    """
    if choice.get("method") != "pairwise":
        return True
    bits, n = shapes[0][:2]
    return n * (n - 1) // 2 * (3 * bits + 2) * _AND_BYTES <= BLOCK_BYTES


def rank_groups(shape: tuple[int, ...], ranks: Sequence[int]) -> list[list[int]]:
    """Cut ranks to select from planes (B, n, W) in groups that fit in a block's memory.

    Where pairs can be compared the ranks stay together, since they share the comparisons.
    """
    if _fits({"method": "pairwise"}, [shape]):
        return [list(ranks)]
    ands, _ = counted("order", [shape], {"ranks": [0], "method": "radix"})
    size = max(1, BLOCK_BYTES // (_AND_BYTES * ands))
    return [list(ranks[start : start + size]) for start in range(0, len(ranks), size)]


def cheapest(
    network: Network,
    nodes: int,
    name: str,
    shapes: Sequence[tuple[int, ...]],
    params: dict[str, Any],
) -> dict[str, str]:
    """Return the alternative of a circuit that the model finds cheapest, as further parameters."""
    choices = [c for c in ALTERNATIVES.get(name, ({},)) if _fits(c, shapes)]

    def seconds(choice: dict[str, str]) -> float:
        whole = {**params, **choice}
        ands, layers = counted(name, shapes, whole)
        words = shapes[0][-1]
        blocks = -(-words // block_width(name, shapes, whole, network.lanes))
        turns = -(-blocks // network.lanes)
        return network.seconds(layers * turns, ands * words * 8 * (nodes - 1))

    return min(choices, key=seconds)
