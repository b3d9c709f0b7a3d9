"""Dead and silent processes, every way out: a clear error, and nothing left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import Pipeline, Stage, make_stage, stage
from secure_fl.backends.aggregate import open_backend
from secure_fl.errors import NodeFailure, SecureFLError
from tests.support.oracles import case
from tests.support.processes import alive, gone

X, _, ROOT = case("plain", 4, 6, seed=2)


@stage
def works_long() -> Stage:
    """Take longer than a time limit of two seconds, at every node alike.  Reveals: nothing."""

    def apply(context: Any, state: Any) -> tuple[Any, Any]:
        time.sleep(3.5)
        return context, state

    return Stage(apply)


# --- processes that die ------------------------------------------------------------------------


@pytest.fixture
def doomed() -> Iterator[Any]:
    """A cluster of its own, whose processes a test may end."""
    backend = open_backend("mpc", nodes=2, timeout=60)
    pids = list(backend.pids.values())
    yield backend
    backend.close()
    assert gone(pids)


@pytest.mark.parametrize("name", ["node 0", "node 1", "dealer"])
def test_a_killed_process_is_named_and_the_round_can_be_repeated(doomed: Any, name: str) -> None:
    session = doomed.session("cosine_median", 4, 6)
    submission = session.submit(X)
    pids = doomed.pids
    os.kill(pids[name], signal.SIGKILL)
    with pytest.raises(NodeFailure, match=rf"{name} stopped unexpectedly \(killed by signal 9\)"):
        session.aggregate(submission)
    assert gone(pids.values())
    assert not doomed.running
    with pytest.raises(NodeFailure, match="the nodes are stopped"):
        session.submit(X)
    session.close()  # nothing to tell anybody
    if name == "node 1":
        with open_backend("mpc", nodes=2) as again:
            repeated = secure_fl.aggregate(X, "cosine_median", again)
        assert torch.equal(repeated.update, secure_fl.aggregate(X, "cosine_median", "fixed").update)


def test_a_node_killed_in_the_middle_of_a_rule(doomed: Any) -> None:
    """The rule takes seconds; the node goes while its peers wait for it."""
    large = np.tile(case("plain", 20, 100)[0], (1, 1000))
    session = doomed.session("algorithm2", 20, large.shape[1])
    submission = session.submit(large)
    killer = threading.Timer(0.5, os.kill, (doomed.pids["node 1"], signal.SIGKILL))
    killer.start()
    with pytest.raises(NodeFailure, match=r"node 1 stopped unexpectedly \(killed by signal 9\)"):
        session.aggregate(submission)
    killer.join()


def test_a_node_that_hangs_is_given_up() -> None:
    """Stopped, not dead: peers wait as long as the backend's time limit, then all end."""
    backend: Any = open_backend("mpc", nodes=2, timeout=4)
    pids = backend.pids
    session = backend.session("median", 4, 6)
    submission = session.submit(X)
    os.kill(pids["node 1"], signal.SIGSTOP)
    with pytest.raises(NodeFailure, match="node 0 failed: node 1 is silent for too long"):
        session.aggregate(submission)
    assert gone(pids.values())


def test_a_node_that_hangs_while_a_session_opens_is_given_up() -> None:
    """Nobody waits for it but the coordinator, which an answer to this question may take long."""
    backend: Any = open_backend("mpc", nodes=2, timeout=2)
    pids = backend.pids
    os.kill(pids["node 1"], signal.SIGSTOP)
    with pytest.raises(NodeFailure, match="node 1 failed: it is silent for 3 s, stopped or hung"):
        backend.session("median", 4, 6)
    assert gone(pids.values())


def test_a_node_that_works_longer_than_the_time_limit_is_not_silent() -> None:
    with open_backend("mpc", nodes=2, timeout=2, allow=(f"{__name__}:works_long",)) as backend:
        rule = Pipeline((works_long(), make_stage("coordinate_median", {})), 2.0)
        result = secure_fl.aggregate(X, rule, backend)
        assert result.cost.seconds_online > 3  # what the coordinator bears with
    assert torch.equal(result.update, secure_fl.aggregate(X, "median", "fixed").update)


# --- every way out -----------------------------------------------------------------------------


def test_leaving_the_block_ends_the_processes() -> None:
    with open_backend("mpc", nodes=2) as backend:
        pids = list(backend.pids.values())
        assert len(pids) == 3
        assert all(alive(pid) for pid in pids)
    assert gone(pids)
    backend.close()  # a second time does nothing


def test_an_error_in_the_block_ends_the_processes() -> None:
    pids: list[int] = []

    def fail() -> None:
        with open_backend("mpc", nodes=2) as backend:
            pids.extend(backend.pids.values())
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert len(pids) == 3
    assert gone(pids)


PROGRAM = """
import json, sys, time
import numpy as np
import secure_fl
from secure_fl.backends.aggregate import open_backend
from tests.support.processes import parent

if __name__ == "__main__":
    backend = open_backend("mpc", nodes=2, timeout=60)
    pids = list(backend.pids.values())
    print(json.dumps([pids, [parent(pid) for pid in pids]]), flush=True)
    {body}
"""

BODIES = {
    "forgets": "pass",
    "fails": "raise SystemExit(7)",
    "waits": "time.sleep(300)",
    "works": (
        "x = np.ones((20, 200_000)) / 4; session = backend.session('median', 20, 200_000)\n"
        "    while True: session.aggregate(session.submit(x))"
    ),
}


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "number"),
    [
        ("forgets", None),
        ("fails", None),
        ("works", signal.SIGINT),
        ("works", signal.SIGTERM),
        ("waits", signal.SIGKILL),
    ],
)
def test_nothing_outlives_the_program(tmp_path: Path, body: str, number: int | None) -> None:
    """It ends by itself, by an error, by Ctrl-C or killed: nodes, dealer, launchers end too."""
    script = tmp_path / "program.py"
    script.write_text(PROGRAM.format(body=BODIES[body]))
    with subprocess.Popen(
        [sys.executable, str(script)],
        cwd=Path(secure_fl.__file__).parents[1],
        env={**os.environ, "PYTHONPATH": str(Path(secure_fl.__file__).parents[1])},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    ) as program:
        assert program.stdout is not None
        # The program names its launchers too: one that ends at once may be gone before we ask.
        pids, launchers = json.loads(program.stdout.readline())
        assert len(pids) == 3
        pids += launchers
        assert program.pid not in pids
        if number is not None:
            time.sleep(1.0)
            assert all(alive(pid) for pid in pids)
            program.send_signal(number)
        try:
            program.communicate(timeout=60)
        finally:
            program.kill()  # or leaving the block would wait for one that goes on
        expected = {None: {"forgets": 0, "fails": 7}.get(body)}.get(number)
        assert program.returncode == expected if number is None else program.returncode != 0
    assert gone(pids)


def test_mpc_without_crypten_says_what_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    from secure_fl.backends import shared as module

    def missing() -> None:
        raise SecureFLError("CrypTen is not installed")

    monkeypatch.setattr(module, "import_crypten", missing)
    with pytest.raises(SecureFLError, match="CrypTen is not installed"):
        open_backend("mpc")
