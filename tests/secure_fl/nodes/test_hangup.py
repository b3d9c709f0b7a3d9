"""Parties that lose each other after their starter has hung up have nothing to say."""

from __future__ import annotations

import os
import signal
import socket
import time
from typing import Any

import pytest

from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.processes import kill
from secure_fl.errors import NodeFailure
from secure_fl.mpc.transport import Channel
from secure_fl.nodes.hangup import HungUp, unless_hung_up
from tests.support.processes import gone


@pytest.mark.parametrize("unread", [b"", b"a question"])
def test_a_failure_after_the_starter_hung_up_is_no_news(unread: bytes) -> None:
    ours, theirs = socket.socketpair()
    channel = Channel(ours, "coordinator")
    with pytest.raises(NodeFailure, match="lost"), unless_hung_up(channel):
        raise NodeFailure("lost")
    theirs.sendall(unread)
    theirs.close()
    assert channel.hung_up()
    with pytest.raises(HungUp), unless_hung_up(channel):
        raise NodeFailure("lost")
    channel.close()


@pytest.mark.parametrize(
    ("first", "hung_up"),
    [("dealer", True), ("node 0", True), ("node 1", True), ("node 0", False)],
)
def test_real_parties_are_silent_when_they_are_ended_one_by_one(
    first: str, hung_up: bool, capfd: pytest.CaptureFixture[str]
) -> None:
    """As `processes.kill` does it, slowly; with open channels the dealer complains."""
    backend: Any = open_backend("mpc", nodes=2)
    pids = backend.pids
    if hung_up:
        for process in backend._processes:
            process.channel.close()
    os.kill(pids[first], signal.SIGKILL)
    time.sleep(1)  # the others notice
    kill(backend._processes)
    assert gone(pids.values())
    assert ("closed the connection" in capfd.readouterr().err) != hung_up
