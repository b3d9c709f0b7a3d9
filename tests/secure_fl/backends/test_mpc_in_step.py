"""Every answer belongs to its question, whatever interrupts or shares an open backend."""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from typing import Any

import numpy as np
import pytest

from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.errors import InputError, NodeFailure
from secure_fl.mpc.correlations import Dealer, NodeSource
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.transport import Channel
from tests.support.processes import gone


def value(backend: Backend, number: float) -> float:
    """What three hospitals get back that all say `number`."""
    with closing(backend.session("mean", 3, 1)) as session:
        return float(session.aggregate(session.submit(np.full((3, 1), number))).update[0])


@pytest.fixture
def doomed() -> Iterator[Any]:
    backend: Any = open_backend("mpc", nodes=2, timeout=60)
    pids = list(backend.pids.values())
    yield backend
    backend.close()
    assert gone(pids)


# --- interruptions -----------------------------------------------------------------------------


def test_after_ctrl_c_no_result_is_another_rounds(doomed: Any) -> None:
    """Interrupted while the nodes compute: 7, 8, 9 come back as 7, 8, 9, or not at all."""
    large = np.full((20, 300_000), 0.25)
    session = doomed.session("algorithm2", 20, large.shape[1])
    submission = session.submit(large)
    timer = threading.Timer(0.3, os.kill, (os.getpid(), signal.SIGINT))
    timer.start()
    with pytest.raises(KeyboardInterrupt):
        session.aggregate(submission)
    timer.join()
    for number in (7.0, 8.0, 9.0):
        with pytest.raises(NodeFailure, match="stopped: the question 'aggregate' was interrupted"):
            value(doomed, number)
    with pytest.raises(NodeFailure, match="interrupted"):
        session.aggregate(submission)
    session.close()
    assert not doomed.running


@pytest.mark.parametrize("method", ["send", "receive_header"])
def test_an_interruption_between_two_nodes_stops_both(
    doomed: Any, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Struck after the first node was told, or has answered, and before the second."""
    session = doomed.session("mean", 3, 1)
    submission = session.submit(np.ones((3, 1)))
    original = getattr(Channel, method)

    def interrupted(channel: Channel, *args: Any) -> Any:
        original(channel, *args)
        raise KeyboardInterrupt

    monkeypatch.setattr(Channel, method, interrupted)
    with pytest.raises(KeyboardInterrupt):
        session.aggregate(submission)
    monkeypatch.undo()
    with pytest.raises(NodeFailure, match="the question 'aggregate' was interrupted"):
        value(doomed, 7.0)


def test_an_answer_to_another_question_is_refused(doomed: Any) -> None:
    doomed.tell(1, {"do": "close", "session": 0, "question": -1})
    with pytest.raises(NodeFailure, match="node 1 failed: it answered question -1, not 1"):
        value(doomed, 7.0)


# --- threads -----------------------------------------------------------------------------------


def test_threads_with_sessions_of_their_own_get_their_own_results(cluster: Backend) -> None:
    def rounds(first: int) -> list[float]:
        with closing(cluster.session("mean", 3, 1)) as session:
            return [
                float(session.aggregate(session.submit(np.full((3, 1), float(n)))).update[0])
                for n in range(first, first + 10)
            ]

    with ThreadPoolExecutor(4) as pool:
        got = list(pool.map(rounds, range(0, 40, 10)))
    assert got == [[float(n) for n in range(first, first + 10)] for first in range(0, 40, 10)]


@pytest.mark.parametrize("name", ["plain", "fixed", "mpc"])
def test_a_submission_that_another_has_replaced_is_refused(cluster: Backend, name: str) -> None:
    """Two threads in one session come to this; under MPC its shares are gone from the nodes."""
    backend = cluster if name == "mpc" else open_backend(name)
    with (
        closing(backend.session("mean", 3, 1)) as session,
        closing(backend.session("mean", 3, 1)) as other,
    ):
        replaced = session.submit(np.ones((3, 1)))
        last = session.submit(np.full((3, 1), 2.0))
        for wrong in (replaced, other.submit(np.ones((3, 1)))):
            with pytest.raises(InputError, match="submission must be what this session's submit"):
                session.aggregate(wrong)
        assert session.aggregate(last).update.tolist() == [2.0]


def test_a_fork_leaves_the_nodes_to_the_program_that_started_them(cluster: Any) -> None:
    child = os.fork()
    if child == 0:
        try:
            value(cluster, 7.0)
        except NodeFailure:
            cluster.close()
            os._exit(0)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert value(cluster, 7.0) == 7.0


# --- the dealer --------------------------------------------------------------------------------


def test_corrections_left_unread_are_noticed() -> None:
    """A rule that stops between two blocks of corrections: the next would be read as another's."""
    left, right = socket.socketpair()
    key = bytes(KEY_BYTES)
    nodes = Channel(left, "dealer")
    dealer = Dealer([Stream(key)], Channel(right, "node 0").send_array)
    source = NodeSource(Stream(key), nodes)
    for skipped in (0, 1):
        source.request("products", count=3)
        dealer.answer({"kind": "products", "count": 3})
        nodes.receive_into(bytearray(8 * (3 - skipped)))
        dealer.answer({"kind": "step"})
        if skipped:
            with pytest.raises(NodeFailure, match="out of step with the requests"):
                source.require_step()
        else:
            source.require_step()
    left.close()
    right.close()
