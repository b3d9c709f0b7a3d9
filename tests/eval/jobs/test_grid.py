"""Jobs: planned, interrupted anywhere, resumed to the same files; real processes are stopped."""

from __future__ import annotations

import json
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eval.audit.run import audit_run
from eval.jobs import grid, starting
from eval.jobs.plan import plan
from eval.jobs.progress import Silent
from eval.report.report import write_report
from secure_fl.errors import InputError, SecureFLError
from secure_fl.simulation.folder import TIMINGS, writing_cell
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job
from tests.support.processes import gone
from tests.support.warm import Warm

# Or chains, and so their heads, would differ between the runs that are compared.
REPEATABLE = "repeatable_secrets=true"
TIMES = (*TIMINGS, "ledger_ms_per_round", "mpc_seconds_online", "mpc_seconds_offline")


class Interrupts(Silent):
    """Stops the job as Ctrl-C does, after so many rounds of all cells."""

    def __init__(self, after: int) -> None:
        self.left = after

    def round_done(self, row: dict[str, Any]) -> None:
        self.left -= 1
        if self.left == 0:
            raise KeyboardInterrupt


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_job.run(tmp_path_factory.mktemp("job") / "run", [REPEATABLE])


def resume(folder: Path, reporter: Silent | None = None) -> None:
    config = starting.resume_job(folder)
    grid.run_job(config, prepare(config), folder, reporter or Silent())


def files(folder: Path) -> dict[str, Any]:
    """Content of every file that does not depend on the time it took."""
    found: dict[str, Any] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file()):
        name = path.relative_to(folder).as_posix()
        if name in ("environment.json", "manifest.json", "chain.jsonl"):
            found[name] = None  # hashes of files with times
        elif path.suffix == ".json" or name.endswith("rounds.jsonl"):
            found[name] = [_timeless(json.loads(t)) for t in _texts(path)]
        else:
            found[name] = path.read_bytes()
    return found


def _texts(path: Path) -> list[str]:
    text = path.read_text()
    return text.splitlines() if path.suffix == ".jsonl" else [text]


def _timeless(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _timeless(v) for k, v in value.items() if k not in (*TIMES, "created")}
    return [_timeless(v) for v in value] if isinstance(value, list) else value


def test_the_plan_is_every_defence_against_every_attack() -> None:
    config = tiny_job.config(
        "malicious=[0.25, 0.5]", "attacks=[none, ipm]", "defences=[median, guarded]"
    )
    assert [cell.name for cell in plan(config)] == [
        "median--none",
        "median--ipm--0.25",
        "median--ipm--0.5",
        "guarded--none",
        "guarded--ipm--0.25",
        "guarded--ipm--0.5",
        "root_only--none",
    ]


def test_a_whole_job_audits(whole: Path) -> None:
    assert audit_run(whole).findings == []
    assert {p.name for p in (whole / "cells").iterdir()} == {
        "fedavg--none",
        "fedavg--backdoor",
        "paper--none",
        "paper--backdoor",
    }


def test_the_main_jobs_defences_run_under_mpc_in_one_job(tmp_path: Path) -> None:
    """With and without a ledger: nodes that hold keys open no session without a contract."""
    methods = ["fedavg", "secure_aggregation", "robust", "paper", "guarded"]
    settings = [f"defences=[{', '.join(methods)}]", "defence.backend=mpc", "rounds=1"]
    folder = tiny_job.run(tmp_path / "run", settings)
    assert grid.failures(folder) == []
    rows = json.loads((folder / "summary.json").read_text())["rows"]
    cells = {f"{method}--{attack}" for method in methods for attack in ("none", "backdoor")}
    assert {row["cell"] for row in rows} == cells | {"root_only--none"}
    write_report(folder)
    assert audit_run(folder).ok


@pytest.mark.parametrize("after", [1, 4, 8, 12])
def test_an_interrupted_job_resumes_to_the_same_files(
    after: int, whole: Path, tmp_path: Path
) -> None:
    folder, config = tmp_path / "run", tiny_job.config(REPEATABLE)
    federation = starting.start_job(config, folder, ["secure-fl", "run"])
    with pytest.raises(KeyboardInterrupt):
        grid.run_job(config, federation, folder, Interrupts(after))
    # A cell has three rows, the initial one included; what was not finished left nothing.
    assert len(list((folder / "cells").iterdir())) == (after - 1) // 3
    assert not (folder / "summary.json").exists()
    resume(folder)
    assert files(folder) == files(whole)
    assert audit_run(folder, measures=False).ok


def test_half_written_cells_are_ignored(whole: Path, tmp_path: Path) -> None:
    """What a killed process leaves behind: a cell under its temporary name."""
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    for name in ("summary.json", "manifest.json", "chain.jsonl"):
        (folder / name).unlink()
    final = folder / "cells" / "paper--backdoor"
    half = final.with_name(".paper--backdoor.partial")
    final.rename(half)
    (half / "cell.json").unlink()
    (half / "rounds.jsonl").write_text('{"round": 0')
    resume(folder)
    assert not half.exists()
    assert files(folder) == files(whole)


def test_a_job_whose_folder_is_moved_ends_and_makes_no_other(tmp_path: Path) -> None:
    """Its later cells would stand in a folder without settings, apart from the first ones."""
    folder, moved = tmp_path / "run", tmp_path / "moved"

    class Moves(Silent):
        def cell_done(self, row: dict[str, Any]) -> None:
            folder.rename(moved)

    config = tiny_job.config(REPEATABLE, "attacks=[]")
    federation = starting.start_job(config, folder, ["secure-fl", "run"])
    with pytest.raises(FileNotFoundError, match=r"moved or removed while the job ran.*run'"):
        grid.run_job(config, federation, folder, Moves())
    assert not folder.exists()
    resume(moved)
    assert [row["cell"] for row in json.loads((moved / "summary.json").read_text())["rows"]] == [
        "fedavg--none",
        "paper--none",
    ]


def test_resuming_a_complete_job_runs_nothing_and_changes_nothing(
    whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    before = {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()}
    resume(folder, Interrupts(1))  # would stop at the first round
    assert {p: p.read_bytes() for p in folder.rglob("*") if p.is_file()} == before


def test_an_existing_folder_is_refused_and_not_touched(whole: Path) -> None:
    before = sorted(whole.rglob("*"))
    with pytest.raises(InputError, match=r"exists already: choose another .* --resume"):
        starting.start_job(tiny_job.config(), whole, [])
    assert sorted(whole.rglob("*")) == before
    with (
        pytest.raises(InputError, match=r"cell .* exists already"),
        writing_cell(whole, "paper--none"),
    ):
        pass


def test_a_job_that_cannot_start_creates_nothing(tmp_path: Path) -> None:
    for overrides in (["data.hospitals=100"], ["attack.params.columns=[999]"]):
        with pytest.raises(SecureFLError, match=r"rows each|within the"):
            starting.start_job(tiny_job.config(*overrides), tmp_path / "run", [])
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot make run folder"):
        starting.start_job(tiny_job.config(), tmp_path / "file" / "run", [])
    assert [p.name for p in tmp_path.iterdir()] == ["file"]


def test_only_a_run_can_be_resumed(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no run to resume"):
        starting.resume_job(tmp_path)


# --- real processes

# A median, because a mean needs nothing of the dealer.
LONG = ("attacks=[]", "defences=[robust]", "defence.backend=mpc", "rounds=10000")


def children(pid: int) -> dict[int, str]:
    """Living child processes with their command lines."""
    found = {}
    for entry in Path("/proc").iterdir():
        try:
            stat = (entry / "stat").read_text().rpartition(")")[2].split()
            if int(stat[1]) == pid and stat[0] != "Z":
                found[int(entry.name)] = (entry / "cmdline").read_text().replace("\0", " ")
        except (OSError, ValueError, IndexError):
            continue
    return found


def wait_for(condition: Any, seconds: float = 120) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.05)
    raise AssertionError("waited in vain")


@pytest.fixture
def job(tmp_path: Path) -> Iterator[tuple[Warm, Path, dict[int, str]]]:
    """A real `secure-fl run` in the middle of an MPC cell."""
    settings = [*tiny_job.SETTINGS, *LONG]
    folder = tmp_path / "run"
    command = "import sys; from eval.cli.main import main; sys.exit(main())"
    process = Warm(["-c", command, "run", *settings, "--out", str(folder)])
    rounds = folder / "cells" / ".robust--none.partial" / "rounds.jsonl"

    def under_way() -> bool:
        assert process.poll() is None, process.communicate()
        return rounds.exists() and rounds.read_text().count("\n") > 2

    try:
        wait_for(under_way)
        launchers = children(process.pid)
        helpers = {pid: line for launcher in launchers for pid, line in children(launcher).items()}
        assert sum("secure_fl.nodes.node" in line for line in helpers.values()) == 2
        assert sum("secure_fl.nodes.dealer" in line for line in helpers.values()) == 1
        yield process, folder, {**helpers, **launchers}
    finally:
        process.kill()
        process.communicate()


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_no_process_and_no_half_cell(number: int, job: Any) -> None:
    process, folder, helpers = job
    os.killpg(process.pid, number)  # as a terminal does: to the whole foreground group
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 130
    assert errors == (
        f"secure-fl: to go on: secure-fl run --resume {folder}\n"
        "secure-fl: interrupted; finished cells are kept\n"
    )
    assert list((folder / "cells").iterdir()) == []
    assert not (folder / "summary.json").exists()
    assert gone(helpers)


@pytest.mark.slow
@pytest.mark.parametrize("module", ["secure_fl.nodes.node", "secure_fl.nodes.dealer"])
def test_a_computing_process_that_dies_is_reported(module: str, job: Any) -> None:
    process, folder, helpers = job
    victim = next(pid for pid, line in helpers.items() if module in line)  # before its launcher
    os.kill(victim, signal.SIGKILL)
    _, errors = process.communicate(timeout=120)
    assert process.returncode == 1
    last = errors.splitlines()[-1]
    assert last.startswith("secure-fl: ")
    assert module.rpartition(".")[2] in last
    assert "Traceback" not in errors
    assert list((folder / "cells").iterdir()) == []
    assert gone(helpers)


@pytest.mark.slow
def test_when_the_run_itself_is_killed_its_helpers_leave(job: Any) -> None:
    process, folder, helpers = job
    process.kill()
    process.communicate()
    assert gone(helpers)
    with pytest.raises(InputError, match="exists already"):
        starting.start_job(tiny_job.config(), folder, [])
    assert starting.resume_job(folder).rounds == 10_000
