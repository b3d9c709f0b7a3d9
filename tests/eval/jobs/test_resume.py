"""One writer at a time, on the data that the run began with, on a chain that may be a new one."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from eval.audit.run import audit_run
from eval.cli import main as cli
from eval.jobs.run_lock import LOCK, only_writer, refuse_second_writer
from secure_fl import data
from secure_fl.data.prepared import keep
from secure_fl.errors import InputError
from tests.support import tiny_job
from tests.support.anvil import CHAIN_ID, serving
from tests.support.warm import Warm

Capture = pytest.CaptureFixture[str]
COMMAND = "import sys; from eval.cli.main import main; sys.exit(main(sys.argv[1:]))"
HOLDER = """
import sys, time
from pathlib import Path
from eval.jobs.run_lock import only_writer
with only_writer(Path(sys.argv[1])):
    time.sleep(600)
"""


def content(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("job")
    _, own = _data(folder, "kept", 0)
    return tiny_job.run(folder / "run", ["data=mimic3", f"data.path={own}", "rounds=1"])


def _data(folder: Path, name: str, changed: int) -> tuple[str, Path]:
    """The shipped data as a file of one's own, so many labels changed."""
    dataset = data.load("support2", None)
    y = dataset.y.copy()
    y[:changed] = 1 - y[:changed]
    path = folder / f"{name}.npz"
    keep(replace(dataset, name="mimic3", y=y), path)
    return name, path


@pytest.fixture
def cut_off(original: Path, tmp_path: Path) -> Path:
    """A run that lacks its last two cells."""
    folder = Path(shutil.copytree(original, tmp_path / "run"))
    for name in ("cells/paper--none", "cells/paper--backdoor"):
        shutil.rmtree(folder / name)
    for name in ("summary.json", "manifest.json", "chain.jsonl"):
        (folder / name).unlink()
    return folder


def test_a_second_writer_is_refused_until_the_first_is_killed(
    cut_off: Path, original: Path, capsys: Capture
) -> None:
    holder = Warm(["-c", HOLDER, str(cut_off)])
    try:
        give_up = time.monotonic() + 60
        while not (cut_off / LOCK).exists() or not (cut_off / LOCK).read_text():
            assert holder.poll() is None, holder.communicate()
            assert time.monotonic() < give_up
            time.sleep(0.01)
        before = content(cut_off)
        assert cli.main(["run", "--resume", str(cut_off)]) == 2
        said = capsys.readouterr().err
        assert said == (
            f"secure-fl: process {holder.pid} is writing into {cut_off}: wait until it has ended\n"
        )
        assert content(cut_off) == before
    finally:
        holder.kill()
        holder.communicate()
    assert (cut_off / LOCK).exists()  # what a killed process leaves hinders nobody
    assert cli.main(["run", "--resume", str(cut_off)]) == 0
    assert not (cut_off / LOCK).exists()
    assert audit_run(cut_off, measures=False).findings == []


@pytest.mark.parametrize("command", ["report", "audit"])
def test_a_report_waits_for_the_writer_and_an_audit_does_not(
    command: str, original: Path, tmp_path: Path, capsys: Capture
) -> None:
    folder = Path(shutil.copytree(original, tmp_path / "run"))
    before = content(folder)
    with only_writer(folder):
        line = [command, str(folder), *(["--no-measure"] if command == "audit" else [])]
        assert cli.main(line) == (2 if command == "report" else 3)
    if command == "report":
        assert f"process {os.getpid()} is writing into" in capsys.readouterr().err
    assert content(folder) == before


@pytest.mark.parametrize("name", ["cell.json", "rounds.jsonl"])
def test_a_damaged_cell_is_told_before_others_run(
    name: str, cut_off: Path, capsys: Capture
) -> None:
    done = sorted(path.name for path in (cut_off / "cells").iterdir())
    place = cut_off / "cells" / done[0]
    (place / name).write_bytes((place / name).read_bytes()[:-20])
    assert cli.main(["run", "--resume", str(cut_off)]) == 2
    said = capsys.readouterr().err
    assert f"remove {place}, and --resume runs this cell again" in said
    assert sorted(path.name for path in (cut_off / "cells").iterdir()) == done
    shutil.rmtree(place)
    assert cli.main(["run", "--resume", str(cut_off)]) == 0
    assert audit_run(cut_off, measures=False).findings == []


def test_an_unfinished_run_has_no_report_yet(cut_off: Path, capsys: Capture) -> None:
    assert cli.main(["report", str(cut_off)]) == 2
    assert f"secure-fl run --resume {cut_off} completes it" in capsys.readouterr().err


def test_a_lock_is_taken_again_and_goes_with_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(KeyboardInterrupt), only_writer(tmp_path):
            raise KeyboardInterrupt
        assert list(tmp_path.iterdir()) == []
    with only_writer(tmp_path), pytest.raises(InputError, match="is writing into"):
        refuse_second_writer(tmp_path)
    (tmp_path / "elsewhere").write_text("kept")
    (tmp_path / LOCK).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(InputError, match="cannot lock"), only_writer(tmp_path):
        pass
    assert (tmp_path / "elsewhere").read_text() == "kept"


@pytest.mark.parametrize("make", [Path.hardlink_to, lambda lock, other: shutil.copy(other, lock)])
def test_a_file_in_the_place_of_the_lock_keeps_its_content(
    make: Callable[[Path, Path], object], tmp_path: Path
) -> None:
    other, lock = tmp_path / "elsewhere", tmp_path / LOCK
    other.write_text("precious")
    make(lock, other)
    with pytest.raises(InputError, match="was not made by a run"), only_writer(tmp_path):
        pass
    assert other.read_text() == lock.read_text() == "precious"
    other.unlink()
    lock.write_text("12345")  # left by a killed process
    with only_writer(tmp_path):
        assert lock.read_text() == str(os.getpid())


@pytest.mark.slow
def test_of_two_resumes_at_once_one_completes_the_run(cut_off: Path) -> None:
    both = [Warm(["-c", COMMAND, "run", "--resume", str(cut_off)]) for _ in range(2)]
    said = {process.communicate(timeout=240)[1]: process.returncode for process in both}
    # The second is refused while the first writes; begun later, it finds nothing left to do.
    assert sorted(said.values()) in ([0, 2], [0, 0], [0])
    assert all(not text or "is writing into" in text for text in said)
    assert audit_run(cut_off, measures=False).findings == []


def test_other_data_are_refused_before_anything_is_written(
    cut_off: Path, original: Path, capsys: Capture
) -> None:
    path = original.parent / "kept.npz"
    aside = path.rename(path.with_name("aside.npz"))
    try:
        _data(original.parent, "kept", 1)
        before = content(cut_off)
        assert cli.main(["run", "--resume", str(cut_off)]) == 2
        said = capsys.readouterr().err
        assert said.startswith("secure-fl: the data must be those that the run in")
        assert said.count("\n") == 1
        assert content(cut_off) == before
    finally:
        aside.replace(path)


@pytest.mark.timeout(120)
def test_a_run_is_resumed_on_a_development_chain_that_began_anew(tmp_path: Path) -> None:
    """It has forgotten contracts and funds; cells that are done keep the chain that they had."""
    cells = ["defences=[paper]", "rounds=1"]
    (tmp_path / "first").mkdir()
    (tmp_path / "second").mkdir()
    with serving(tmp_path / "first") as node:
        place = [f"ledger.url={node.url}", f"ledger.chain_id={CHAIN_ID}"]
        place += ["ledger.simulated_keys=true", "ledger.patience=10"]
        folder = tiny_job.run(tmp_path / "run", [*cells, *place])
        shutil.rmtree(folder / "cells" / "paper--backdoor")
        node.kill()
        node.state = tmp_path / "second" / "anvil.json"
        node.start()
        assert cli.main(["run", "--resume", str(folder)]) == 0
    report = audit_run(folder, measures=False)
    assert report.findings == []
    assert len(report.chains) == 2
