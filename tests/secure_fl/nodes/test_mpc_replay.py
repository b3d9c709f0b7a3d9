"""A node alone, once more: what it sends follows from its key and from what it received."""

from __future__ import annotations

import json
import struct
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from secure_fl.backends.aggregate import open_backend
from secure_fl.errors import NodeFailure
from secure_fl.mpc.correlations import NodeSource
from secure_fl.mpc.dealer_ring import DealerRing
from secure_fl.mpc.planning import Network
from secure_fl.mpc.prg import Nonces, Stream
from secure_fl.mpc.transport import Channel, Mesh
from secure_fl.nodes.memory import Memory
from secure_fl.nodes.node import Node
from secure_fl.nodes.pulse import WORKING, Pulse
from tests.support.inside import crypten_over
from tests.support.oracles import case

NODES, N, D, MINIMUM = 2, 6, 1200, 3
_FRAME = struct.Struct(">IQ")
MEASURED = ("seconds_online", "seconds_offline", "cpu_ms", "peak_mib")
"""What an answer says of time and memory, which no input decides."""


class Tape:
    """In place of a socket: gives out what was received once, and keeps what is sent."""

    def __init__(self, received: bytes) -> None:
        self.rest = memoryview(received)
        self.sent = bytearray()

    def recv_into(self, view: memoryview) -> int:
        count = min(len(view), len(self.rest))
        view[:count] = self.rest[:count]
        self.rest = self.rest[count:]
        return count

    def sendall(self, data: Any) -> None:
        self.sent += memoryview(data).cast("B")

    def send(self, data: Any) -> int:
        self.sendall(data)
        return len(data)

    def gettimeout(self) -> float:
        return 1.0

    def settimeout(self, seconds: float | None) -> None:
        pass


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two nodes wrote down over some rounds of several rules."""
    place = tmp_path_factory.mktemp("replay")
    with open_backend(
        "mpc", nodes=NODES, timeout=60, transcript=place, minimum_hospitals=MINIMUM
    ) as backend:
        for name in ("guarded", "weighted_mean", "algorithm2", "median"):
            session = backend.session(name, N, D)
            for number in range(2 if name == "guarded" else 1):
                x, reputation, root = case("plain", N, D, seed=number)
                present = [number == 0 or hospital != 2 for hospital in range(N)]
                session.aggregate(session.submit(x, present), reputation, root)
            session.close()
    return place


def replayed(folder: Path, rank: int, change: str = "") -> dict[str, tuple[bytes, bytes]]:
    """Run a node alone; return for each peer what it sent then and what it sends now.

    Args:
        change: of what the middle 64 bytes are inverted: a peer's messages, or "key". One bit of
            a message would not do: where the node's own share beside it is 0, nothing follows.
    """
    peers = [f"node-{peer}" for peer in range(NODES) if peer != rank]
    read = {
        name: bytearray((folder / f"node-{rank}-from-{name}.bin").read_bytes())
        for name in (*peers, "control", "dealer")
    }
    key = bytearray((folder / f"node-{rank}.key").read_bytes())
    if change:
        changed = key if change == "key" else read[change]
        middle = slice(max(len(changed) // 2 - 32, 0), len(changed) // 2 + 32)
        changed[middle] = bytes(byte ^ 255 for byte in changed[middle])
    tapes: dict[str, Any] = {name: Tape(bytes(data)) for name, data in read.items()}
    channels = {name: Channel(tape, name) for name, tape in tapes.items()}
    mesh = Mesh(rank, {peer: channels[f"node-{peer}"] for peer in range(NODES) if peer != rank})
    source = NodeSource(Stream(bytes(key)), channels["dealer"] if rank == 0 else None)
    ring = DealerRing(mesh, source, Network(), Nonces(bytes(key)))
    with crypten_over(mesh), TemporaryDirectory() as empty:
        control, memory = channels["control"], Memory(Path(empty) / "node.log")
        Node(mesh, source, ring, memory, MINIMUM).serve(control, Pulse(control, timeout=1e9))
        memory.close()
    assert not any(tape.rest for name, tape in tapes.items() if name != "dealer" or rank == 0)
    return {
        name: ((folder / f"node-{rank}-to-{name}.out").read_bytes(), bytes(tape.sent))
        for name, tape in tapes.items()
    }


def answers(data: bytes) -> list[tuple[dict[str, Any], bytes]]:
    """What a node answered the coordinator, but for signs of life and what it measured."""
    read, offset = [], 0
    while offset < len(data):
        header, payload = _FRAME.unpack_from(data, offset)
        start = offset + _FRAME.size
        offset = start + header + payload
        said = json.loads(data[start : start + header])
        if WORKING in said:
            continue
        kept = {key: value for key, value in said.items() if key not in MEASURED}
        if "cost" in kept:
            kept["cost"] = {k: v for k, v in kept["cost"].items() if k not in MEASURED}
        read.append((kept, data[start + header : offset]))
    return read


@pytest.mark.parametrize("rank", range(NODES))
def test_a_node_is_a_function_of_its_key_its_shares_and_its_peers_messages(
    folder: Path, rank: int
) -> None:
    """Its words to its peers and to the dealer and its answers, bit for bit."""
    sent = replayed(folder, rank)
    then, now = sent[f"node-{1 - rank}"]
    assert len(then) > 100_000
    assert then == now
    then, now = (answers(data) for data in sent["control"])
    assert sum("opened" in said for said, _ in then) == 5
    assert then[0][0] == {"ready": rank}  # before it serves
    assert then[1:] == now
    then, now = sent["dealer"]
    assert then.startswith(now)
    assert len(then) - len(now) < 100  # a request to stop


@pytest.mark.parametrize("change", ["node-0", "key"])
def test_a_changed_message_and_a_changed_key_are_seen(folder: Path, change: str) -> None:
    try:
        then, now = replayed(folder, 1, change)["node-0"]
    except NodeFailure as failure:  # what the peer had told does not fit any more
        assert "node 0" in str(failure)  # noqa: PT017 - either is right
        return
    assert then != now
