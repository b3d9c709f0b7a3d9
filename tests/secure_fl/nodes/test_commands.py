"""What the coordinator writes is what a node reads, field by field and type by type."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from secure_fl.aggregation import build_rule
from secure_fl.errors import InputError
from secure_fl.mpc.transport import Channel
from secure_fl.nodes.commands import (
    Aggregate,
    CheckShares,
    CloseSession,
    Command,
    GiveReceipts,
    OpenSession,
    SignRecords,
    SignResult,
    read_command,
)
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.inbox import NodeSession
from secure_fl.nodes.messages import COMMANDS as KNOWN
from secure_fl.nodes.messages import receive
from secure_fl.nodes.shares import Delivery, ShareMessage

N, D, SESSION = 3, 2, 5
CONTRACT = Contract(7, bytes(range(20)), (bytes(20), 20 * b"\xff"))
ROOTS = {10: bytes(range(32)), 2: bytes(32)}
HASH, OTHER = 64 * "a", 64 * "0"
RULE = build_rule("guarded").to_config()
COMMANDS: list[Command] = [
    OpenSession(SESSION, RULE, 20, D, None),
    OpenSession(SESSION, RULE, 20, D, CONTRACT),
    CloseSession(SESSION),
    GiveReceipts(SESSION, 1),
    CheckShares(SESSION, 1, ROOTS, bytes(range(32))),
    CheckShares(SESSION, 1, {}, bytes(32)),
    SignResult(SESSION, 1, HASH, OTHER),
    SignRecords(SESSION, 2, OTHER, b"[[], []]"),
    Aggregate(SESSION, 1, [1.0, 0.1 + 0.2], [3.0, 0.0], [(1, 0), (0, 1)], None, None),
    Aggregate(SESSION, 1, [1.0, 0.0], [1.0, 1.0], [], ROOTS, np.array([0.1, -(2.0**-1074)])),
    Aggregate(SESSION, 1, [1.0], [1.0], [], None, None, np.array([3.0, 1e300])),
    Aggregate(SESSION, 1, [1.0], [1.0], [], None, np.array([0.1, 2.0]), np.array([3.0, 1e300])),
]


def test_every_command_of_a_node_is_here() -> None:
    written = {command.write()[0]["do"] for command in COMMANDS}
    assert written | {"share", "stop"} == set(KNOWN)


def over_the_wire(header: dict[str, Any]) -> dict[str, Any]:
    said: dict[str, Any] = json.loads(json.dumps(header))
    return said


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_a_node_reads_what_was_written(command: Command) -> None:
    header, payload = command.write()
    read = read_command(over_the_wire(header), bytearray(payload))
    assert type(read) is type(command)
    for name, told in command._asdict().items():
        got = getattr(read, name)
        if isinstance(told, np.ndarray):
            assert got.dtype == np.float64
            assert got.tobytes() == told.tobytes()
        else:
            assert got == told, name
            assert type(got) is type(told), name


def test_a_delivery_is_read_as_it_was_written() -> None:
    message = ShareMessage(bytes(range(32)), b"share", [bytes(32), 32 * b"\x07"])
    for delivery in (Delivery(message), Delivery(message, 32 * b"r", 64 * b"s")):
        header, salt, share = delivery.write(SESSION, 1)
        assert (header["session"], header["hospital"]) == (SESSION, 1)
        assert Delivery.read(over_the_wire(header), bytearray(salt + share)) == delivery


@pytest.mark.parametrize("value", [7, None, "zz", [1], {"0": 1}, "abc"])
@pytest.mark.parametrize("field", ["proof", "root", "delivery"])
def test_what_is_malformed_in_a_delivery_proves_nothing(field: str, value: Any) -> None:
    header, salt, share = Delivery(ShareMessage(bytes(32), b"x", []), b"r", b"s").write(SESSION, 1)
    read = Delivery.read({**header, field: value}, bytearray(salt + share))
    spoilt = {"proof": read.message.proof, "root": read.root, "delivery": read.signature}
    assert spoilt[field] in (b"", [], [b""])
    assert read.message[:2] == (salt, share)


class Coming(Channel):
    """A channel on which one message arrives."""

    def __init__(self, header: dict[str, Any], payload: bytes) -> None:
        self._coming = over_the_wire(header), payload

    def receive_header(self) -> tuple[dict[str, Any], int]:
        return self._coming[0], len(self._coming[1])

    def receive_into(self, buffer: Any) -> None:
        buffer[:] = self._coming[1]

    def discard(self, size: int) -> None:
        assert size == len(self._coming[1])


def session() -> NodeSession:
    return NodeSession(build_rule("median"), 20, D, (), 0, 2, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_what_is_written_passes_the_nodes_own_rules(command: Command) -> None:
    if isinstance(command, Aggregate):
        command = command._replace(reputation=[0.5] * 20, samples=[1.0] * 20)
    header, payload = receive(Coming(*command.write()), {SESSION: session()})
    assert read_command(header, payload)._asdict().keys() == command._asdict().keys()


def test_a_direction_that_is_not_finite_is_refused() -> None:
    for odd in (np.nan, np.inf):
        header, payload = Aggregate(0, 1, [], [], reference=np.array([0.0, odd])).write()
        with pytest.raises(InputError, match="payload of 'aggregate' must be finite numbers"):
            read_command(header, payload)
