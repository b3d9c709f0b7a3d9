"""A rule that ships and fails at a node all the same: what the node says of it, and to whom."""

from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from secure_fl.mpc.transport import Channel
from secure_fl.nodes.memory import Memory
from secure_fl.nodes.node import Node
from secure_fl.nodes.pulse import Pulse

SECRET = "4711"  # of a share


def failing(self: Node, command: Any) -> Any:
    raise ZeroDivisionError(f"cannot divide {SECRET}")


def test_a_mistake_is_answered_without_its_words_and_the_node_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(Node, "_answer", failing)
    theirs, ours = socket.socketpair()
    coordinator, control = Channel(theirs, "node 0"), Channel(ours, "coordinator")
    released: list[str] = []
    idle: Any = SimpleNamespace(finish=lambda: released.append("masks"))
    memory = Memory(tmp_path / "node.log")
    for _ in range(2):
        coordinator.send({"do": "close", "session": 1})
    coordinator.send({"do": "stop"})
    Node(idle, idle, idle, memory).serve(control, Pulse(control, timeout=1e9))
    memory.close()
    assert released == ["masks", "masks"]
    for _ in range(2):
        said, payload = coordinator.receive()
        assert (said["error"], payload) == ("SecureFLError", b"")
        assert "ZeroDivisionError" in said["message"]
        assert SECRET not in said["message"]
    assert capsys.readouterr().err.count(f"cannot divide {SECRET}") == 2
    coordinator.close()
    control.close()
