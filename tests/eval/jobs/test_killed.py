"""kill -9 at any moment: what is gone on with ends as if nothing had happened."""

from __future__ import annotations

import signal
import time
from pathlib import Path
from typing import Any

import pytest

from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from eval.jobs.sweep import Sweep, sweep
from eval.results.records import read_object
from secure_fl.federation import Federation
from secure_fl.files import read_lines
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_federation, tiny_job
from tests.support.warm import Warm

JOB = ("data.rows=400", "rounds=3", "attacks=[sign_flip]", "defences=[robust]")
# A job that kills itself, as nobody can catch, at the end of round 2 of its second cell.
KILLED_JOB = """
import os, signal, sys
from pathlib import Path
from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from tests.support import tiny_job

class Killer(Silent):
    cell = ""
    def cell_started(self, name, rounds):
        self.cell = name
    def round_done(self, row):
        if self.cell == "robust--sign_flip" and row["round"] == 2:
            os.kill(os.getpid(), signal.SIGKILL)

settings, folder = tiny_job.config(*sys.argv[2:]), Path(sys.argv[1])
federation = starting.start_job(settings, folder, ["secure-fl", "run"])
grid.run_job(settings, federation, folder, Killer())
"""


def hashes(folder: Path) -> dict[str, str]:
    summary = read_object(folder / "summary.json")
    assert summary["failed"] == []
    return {row["cell"]: row["final_model_sha256"] for row in summary["rows"]}


@pytest.mark.parametrize("backend", ["plain", "mpc"])
def test_a_killed_run_ends_as_it_would_have(backend: str, tmp_path: Path) -> None:
    """Under MPC, shares are drawn anew; what comes out does not hang on them."""
    settings = [*JOB, f"defence.backend={backend}"]
    folder = tmp_path / "run"
    killed = Warm(["-c", KILLED_JOB, str(folder), *settings])
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    (partial,) = [path for path in (folder / "cells").iterdir() if path.name.startswith(".")]
    assert len(read_lines(partial / "rounds.jsonl")) == 3
    config = starting.resume_job(folder)
    grid.run_job(config, prepare(config), folder, Silent())
    assert hashes(folder) == hashes(tiny_job.run(tmp_path / "whole", settings))


# A sweep in two processes that is killed when the first of its groups is done.
KILLED_SWEEP = """
import os, signal, sys
from eval.jobs.sweep import sweep
from tests.support import tiny_federation

def tell(done, cells, rows):
    os.kill(os.getpid(), signal.SIGKILL)

if __name__ == "__main__":
    federation = tiny_federation.made()
    sweep(federation, **tiny_federation.SWEEP, jobs=2, folder=sys.argv[1], tell=tell)
"""


def timeless(found: Sweep) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found.rows]


def working_for(folder: Path) -> list[str]:
    """Living processes that loky started and that have this current directory."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            line = (entry / "cmdline").read_text().replace("\\0", " ")
            if "loky" in line and (entry / "cwd").readlink() == folder:
                found.append(line)
        except OSError:
            continue
    return found


@pytest.mark.slow
def test_a_killed_sweep_ends_as_it_would_have(tmp_path: Path) -> None:
    """The other process leaves with it; the same call goes on, side by side as well."""
    federation: Federation = tiny_federation.made()
    folder = tmp_path / "sweep"
    killed = Warm(["-c", KILLED_SWEEP, str(folder)], cwd=tmp_path)
    killed.communicate(timeout=120)
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while working_for(tmp_path):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    kept = {path: path.read_bytes() for path in folder.glob("*.json")}
    whole = sweep(federation, **tiny_federation.SWEEP)
    assert 2 <= len(kept) < 1 + len(whole.rows)
    found = sweep(federation, **tiny_federation.SWEEP, jobs=2, folder=folder)
    assert timeless(found) == timeless(whole)
    assert all(path.read_bytes() == content for path, content in kept.items())
