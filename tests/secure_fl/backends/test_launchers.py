"""Launchers fork parties that share nothing but code, say how they end, and outlive nobody."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import secure_fl
from secure_fl.backends import launchers
from secure_fl.backends.launchers import Party
from secure_fl.backends.processes import environment, start
from secure_fl.errors import NodeFailure
from tests.support.processes import alive, gone, parent

# A party that tells what it has, does what it is told, and ends.
PARTY = """
import json, os, random, sys, time
import numpy.random

sys.modules["__main__"].GRACE_SECONDS = 0.2  # of the launcher, for parties that do not end
LOADER = os.getpid()


def main():
    told = json.loads(sys.stdin.readline())
    seen = {
        "loader": LOADER,
        "pid": os.getpid(),
        "session": os.getsid(0),
        "drawn": [numpy.random.random(), random.random()],
        "descriptors": [n for n in range(256) if os.path.exists(f"/proc/self/fd/{n}")],
        "threads": len(os.listdir("/proc/self/task")),
        "folder": os.getcwd(),
        "told": told,
    }
    with open(told["answer"] + ".part", "w") as file:
        json.dump(seen, file)
    os.rename(told["answer"] + ".part", told["answer"])
    print("said by", told["answer"])
    if told["do"] == "wait":
        time.sleep(300)
    if told["do"] == "fail":
        raise ZeroDivisionError("of its own")
    return told["status"]
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder on Python's path with the program above."""
    folder = tmp_path_factory.mktemp("library")
    (folder / "telling_party.py").write_text(PARTY)
    return folder


@pytest.fixture
def begin(
    library: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[..., Party]]:
    """Starts parties of that program, each with a file to tell in."""
    monkeypatch.setenv("PYTHONPATH", str(library))
    begun = []

    def begin(answer: str, do: str = "", status: int = 0) -> Party:
        told = {"answer": str(tmp_path / answer), "do": do, "status": status, "start": 60}
        begun.append(start(answer, "telling_party", told).handle)
        return begun[-1]

    yield begin
    for party in begun:
        party.kill()
        party.wait(60)


def told_in(path: Path) -> dict[str, Any]:
    """What a party tells, once it does."""
    deadline = time.monotonic() + 60
    while not path.exists() and time.monotonic() < deadline:
        time.sleep(0.01)
    return json.loads(path.read_text())


def test_parties_share_code_and_nothing_else(
    begin: Callable[..., Party], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = Path.cwd()
    parties = [begin("one", do="wait")]
    monkeypatch.chdir(tmp_path)
    parties.append(begin("two", do="wait"))
    one, two = (told_in(tmp_path / name) for name in ("one", "two"))
    assert one["loader"] == two["loader"] == parent(one["pid"]) == parent(two["pid"])
    assert parent(one["loader"]) == os.getpid()
    for told, party in zip((one, two), parties, strict=True):
        assert told["pid"] == told["session"] == party.pid
        assert told["descriptors"] == [0, 1, 2]
        assert told["threads"] == 1
    assert [told["told"]["answer"] for told in (one, two)] == [
        str(tmp_path / name) for name in ("one", "two")
    ]
    assert (one["folder"], two["folder"]) == (str(here), str(tmp_path))
    assert not set(one["drawn"]) & set(two["drawn"])


def test_a_party_writes_where_its_starter_does_at_that_time(
    begin: Callable[..., Party], tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert begin("one").wait(60) == 0
    assert begin("two", do="fail").wait(60) == 1
    said = capfd.readouterr()
    assert said.out.splitlines() == [f"said by {tmp_path / name}" for name in ("one", "two")]
    assert "ZeroDivisionError: of its own" in said.err


def test_how_a_party_ended_is_heard(begin: Callable[..., Party]) -> None:
    assert begin("one", status=7).wait(60) == 7
    waiting, killed = begin("two", do="wait"), begin("three", do="wait")
    assert waiting.poll() is None
    with pytest.raises(TimeoutError, match=f"process {waiting.pid} still runs"):
        waiting.wait(0.05)
    killed.kill()
    assert killed.wait(60) == -signal.SIGKILL
    assert killed.poll() == -signal.SIGKILL
    killed.kill()  # a second time does nothing
    os.kill(waiting.pid, signal.SIGTERM)
    assert waiting.wait(60) == -signal.SIGTERM


def test_without_its_launcher_a_party_can_still_be_killed(begin: Callable[..., Party]) -> None:
    party = begin("one", do="wait")
    os.kill(parent(party.pid), signal.SIGKILL)
    assert party.wait(60) == Party.UNHEARD
    party.kill()
    assert gone([party.pid])
    assert begin("two").wait(60) == 0  # by another launcher


def test_another_environment_takes_another_launcher(
    begin: Callable[..., Party], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    party = begin("one", do="wait")
    first = told_in(tmp_path / "one")["loader"]
    monkeypatch.setenv("LANG", "C.UTF-8" if os.environ.get("LANG") != "C.UTF-8" else "C")
    assert begin("two").wait(60) == 0
    second = told_in(tmp_path / "two")["loader"]
    assert first != second
    assert party.poll() is None
    assert alive(first)


def test_a_program_that_cannot_be_loaded_is_named(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(NodeFailure, match="one: nothing can be started"):
        start("one", "no_such_program", {"start": 60})
    assert "No module named 'no_such_program'" in capfd.readouterr().err


def test_a_program_that_starts_a_thread_is_not_forked(
    begin: Callable[..., Party], library: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (library / "threaded_party.py").write_text("import time, threading\n" + THREAD)
    with pytest.raises(NodeFailure, match="one: nothing can be started"):
        start("one", "threaded_party", {"start": 60})
    assert "a launcher must have one thread when it forks; it has 2" in capfd.readouterr().err


THREAD = "threading.Thread(target=time.sleep, args=(300,), daemon=True).start()"
STARTER = """
import json, os, sys, time
from secure_fl.backends.processes import start

if __name__ == "__main__":
    told = {"answer": sys.argv[1], "do": "wait", "status": 0, "start": 60}
    party = start("one", "telling_party", told).handle
    forked = os.fork()  # holds copies of all descriptors for as long as it runs
    if forked:
        print(json.dumps([party.pid, forked]), flush=True)
    time.sleep(300)
"""


def test_a_launcher_ends_with_its_starter_and_takes_its_parties_along(
    library: Path, tmp_path: Path
) -> None:
    """Killed without a word, while a fork of it goes on and the party waits for nothing."""
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    places = os.pathsep.join([str(library), str(Path(secure_fl.__file__).parents[1])])
    with subprocess.Popen(
        [sys.executable, str(script), str(tmp_path / "answer")],
        env={**os.environ, "PYTHONPATH": places},
        cwd=tmp_path,
        stdout=subprocess.PIPE,
    ) as starter:
        assert starter.stdout is not None
        pid, forked = json.loads(starter.stdout.readline())
        told_in(tmp_path / "answer")
        launcher = parent(pid)
        assert parent(launcher) == starter.pid
        starter.kill()
        try:
            assert gone([pid, launcher])
            assert alive(forked)
        finally:
            os.kill(forked, signal.SIGKILL)


def test_clusters_are_forks_of_the_same_launchers() -> None:
    """Two processes that load torch in all, however many nodes; each draws its own secrets."""
    pairs = []
    for _ in range(2):
        with secure_fl.open_backend("mpc", timeout=60) as backend:
            pairs.append([parent(pid) for pid in backend.pids.values()])
            assert secure_fl.aggregate([[1.0], [2.0], [7.0]], "median", backend).update == 2.0
    assert pairs[0] == pairs[1]
    assert len(set(pairs[0])) == 2


def test_a_launcher_gets_the_environment_of_parties_alone(
    begin: Callable[..., Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECURE_FL_LEDGER_PASSWORD", "secret words")
    content = Path(f"/proc/{parent(begin('one', do='wait').pid)}/environ").read_bytes()
    assert b"secret words" not in content
    assert {e.partition(b"=")[0].decode() for e in content.split(b"\0") if e} <= set(environment())


def test_requests_that_come_together_are_served_one_by_one(begin: Callable[..., Party]) -> None:
    """Two kills and a start in one reading."""
    parties = [begin(name, do="wait") for name in ("one", "two")]
    launcher = launchers._launchers["telling_party"]
    with launcher._lock:
        text = "".join(json.dumps({"kill": party.pid}) + "\n" for party in parties)
        launcher.control.sendall(text.encode())
    assert begin("three").wait(60) == 0
    assert [party.wait(60) for party in parties] == [-signal.SIGKILL] * 2
