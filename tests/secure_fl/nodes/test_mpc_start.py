"""Nodes and dealer start whatever is in the current directory, the environment, or on a port."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import secure_fl
from secure_fl.backends.processes import Process, environment
from secure_fl.backends.questions import Questions
from secure_fl.backends.shared import MpcBackend
from secure_fl.nodes import boot
from secure_fl.nodes.boot import find_package
from tests.support.processes import parent

NAMES = ("attacks", "json", "ledger", "random", "secure_fl", "ssl", "torch")


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    """Started in a folder of misleading files, with a secret in the environment, while strangers
    hold silent connections to every port."""
    here = tmp_path_factory.mktemp("here")
    for name in NAMES:
        (here / f"{name}.py").write_text("raise SystemExit('the wrong file')")
    first = Questions.first
    with pytest.MonkeyPatch.context() as patch, ExitStack() as stack:

        def watched(questions: Questions, process: Process, rules: Any) -> dict[str, Any]:
            header = first(questions, process, rules)
            for _ in range(3 if "port" in header else 0):
                stack.enter_context(socket.create_connection(("127.0.0.1", header["port"])))
            return header

        patch.chdir(here)
        patch.setenv("PYTHONPATH", os.pathsep.join([str(here), ".", ""]))
        patch.setenv("LEDGER_KEYSTORE_PASSWORD", "secret words")
        patch.setattr(Questions, "first", watched)
        yield stack.enter_context(secure_fl.open_backend("mpc", timeout=60))


def test_it_starts_and_computes(started: Any) -> None:
    update = secure_fl.aggregate([[1.0], [2.0], [7.0]], "median", started).update
    assert update.tolist() == [2.0]


def test_no_process_has_what_the_environment_holds(started: Any) -> None:
    for pid in started.pids.values():
        content = Path(f"/proc/{pid}/environ").read_bytes()
        names = {entry.partition(b"=")[0].decode() for entry in content.split(b"\0") if entry}
        assert "PATH" in names
        assert names <= set(environment())
        assert b"secret" not in content


class SecondElsewhere(MpcBackend):
    """Node 1 is started by a command of its own, as its operator does."""

    def _start_node(self, rank: int, options: dict[str, Any]) -> Process:
        if rank == 0:
            return super()._start_node(rank, options)
        command = [sys.executable, "-P", str(Path(boot.__file__)), "secure_fl.nodes.node"]
        handle: Any = subprocess.Popen(command, stdin=subprocess.PIPE, env=environment())
        handle.stdin.write((json.dumps(options) + "\n").encode())
        handle.stdin.close()
        return Process(f"node {rank}", handle)


def test_a_node_may_be_started_by_its_own_command() -> None:
    with SecondElsewhere(timeout=60) as backend:
        assert parent(backend.pids["node 1"]) == os.getpid() != parent(backend.pids["node 0"])
        assert secure_fl.aggregate([[1.0], [2.0], [7.0]], "median", backend).update == 2.0


def test_what_a_process_is_given(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    libraries = str(tmp_path / "libraries")
    places = ["", ".", "relative", str(tmp_path), libraries]
    given = {"HOME": "/us", "SSLKEYLOGFILE": "keys", "PYTHONSTARTUP": "x.py", "TOKEN": "t"}
    kept = environment({**given, "PYTHONPATH": os.pathsep.join(places)})
    ours = {name for name in kept if not name.startswith("MALLOC_")}
    assert ours == {"HOME", "PYTHONPATH"} | {
        f"{it}_NUM_THREADS" for it in ("MKL", "OMP", "OPENBLAS")
    }
    assert kept["PYTHONPATH"] == libraries
    assert "PYTHONPATH" not in environment({"PYTHONPATH": os.pathsep.join(places[:-1])})


def test_the_package_comes_behind_the_standard_library_and_before_others() -> None:
    path = ["/lib/python3.11", "/venv/site-packages", "/us/dist-packages"]
    find_package(path, "/checkout")
    assert path == ["/lib/python3.11", "/checkout", "/venv/site-packages", "/us/dist-packages"]
    find_package(path, "/checkout")
    assert path.count("/checkout") == 1
    bare = ["/lib/python3.11"]
    find_package(bare, "/checkout")
    assert bare == ["/lib/python3.11", "/checkout"]
