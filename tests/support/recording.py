"""Clusters whose processes write down all that they receive, and how to read that."""

from __future__ import annotations

import json
import struct
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import secure_fl
from secure_fl.mpc.disclosure import HASH_WORDS

DEALER = "dealer-from-node-0.bin"
HASH_BYTES = 8 * HASH_WORDS
CORRECTIONS = "node-0-from-dealer.bin"
_FRAME = struct.Struct(">IQ")
# Where requests name masks that the dealer keeps.
_NUMBERS = ("first", "number", "mask", "inputs", "numbers")


def requests(data: bytes) -> list[dict[str, Any]]:
    """The dealer's requests, as node 0 sent them; the last may be on its way still."""
    read, offset = [], 0
    while offset + _FRAME.size <= len(data):
        header, payload = _FRAME.unpack_from(data, offset)
        start = offset + _FRAME.size
        offset = start + header + payload
        if offset > len(data):
            break
        assert payload == 0  # sizes and names of steps, never data
        read.append(json.loads(data[start : start + header]))
    return read


def _listed(value: Any) -> list[int]:
    return value if isinstance(value, list) else [value]


def _mentioned(asked: list[dict[str, Any]]) -> set[int]:
    return {
        number
        for request in asked
        for key in _NUMBERS
        if key in request
        for number in _listed(request[key])
    }


def settled(asked: list[dict[str, Any]]) -> bool:
    """Whether all masks that were asked for have been let go of: the aggregation's last request."""
    gone = {n for request in asked if request["kind"] == "release" for n in request["numbers"]}
    return _mentioned(asked) <= gone


def relative(asked: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Requests with masks numbered from 0 on, as if the aggregation were the cluster's first."""
    base = min(_mentioned(asked), default=0)

    def moved(value: Any) -> Any:
        return [n - base for n in value] if isinstance(value, list) else value - base

    return [{k: moved(v) if k in _NUMBERS else v for k, v in r.items()} for r in asked]


def _from(path: Path, start: int) -> bytes:
    with path.open("rb") as file:
        file.seek(start)
        return file.read()


class Recorded(NamedTuple):
    """A cluster, and the files in which its processes write down all they receive."""

    backend: Any
    folder: Path

    def watch(self, act: Callable[[], Any]) -> tuple[Any, dict[str, bytes]]:
        """Do something; return what was received meanwhile, by file."""
        before = {p.name: p.stat().st_size for p in sorted(self.folder.glob("*.bin"))}
        result = act()
        # The dealer may not have read the last request, which nobody waits for.
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            files = sorted(self.folder.glob("*.bin"))  # the dealer's may be a moment late
            received = {p.name: _from(p, before.get(p.name, 0)) for p in files}
            if DEALER in received and settled(requests(received[DEALER])):
                break
            time.sleep(0.01)
        return result, received

    def aggregate(self, rule: Any, x: np.ndarray, root: np.ndarray) -> tuple[Any, dict[str, bytes]]:
        """The word behind the corrections, which counts requests, is taken off."""
        act = partial(secure_fl.aggregate, x, rule, self.backend, reference=root, model=root)
        result, received = self.watch(act)
        received[CORRECTIONS] = received[CORRECTIONS][:-8]
        return result, received


def between_nodes(received: dict[str, bytes], n: int, d: int) -> dict[str, np.ndarray]:
    """The messages of the protocol, without its public frame.

    First come n bytes that say whose shares could be opened, last the shares of the update and a
    hash of it: those are looked at apart.
    """
    return {
        name: np.frombuffer(data[n : len(data) - 8 * d - HASH_BYTES], np.uint8)
        for name, data in received.items()
        if name.startswith("node") and "from-node" in name
    }


def update_shares(data: bytes, d: int) -> np.ndarray:
    """A node's shares of the update, int64 (d,), among what it sent a peer."""
    end = len(data) - HASH_BYTES
    return np.frombuffer(data[end - 8 * d : end], np.int64)


def opened_together(received: dict[str, bytes], nodes: int, n: int, d: int) -> list[np.ndarray]:
    """What the nodes' messages add up to, as ring elements and as words of bits: all openings.

    A node sends the same to every peer. Whatever is opened, under a mask or not, is the sum or the
    exclusive or of what all nodes send at one place.
    """
    sent = [
        np.frombuffer(
            received[f"node-{(rank + 1) % nodes}-from-node-{rank}.bin"][n : -8 * d - HASH_BYTES],
            "<u8",
        )
        for rank in range(nodes)
    ]
    return [np.add.reduce(sent), np.bitwise_xor.reduce(sent)]
