"""Commands on a run folder that is damaged or was changed: one line that names the file."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.cli import main as cli
from tests.support import tiny_job

Capture = pytest.CaptureFixture[str]
Damage = Callable[[Path], None]
CELL = "cells/paper--none"


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tiny_job.run(tmp_path_factory.mktemp("jobs") / "job", ["rounds=1", "attacks=[]"])
    assert cli.main(["report", str(run)]) == 0
    return run


def _write(name: str, content: bytes) -> Damage:
    return lambda run: (run / name).write_bytes(content) and None


def _folder(name: str) -> Damage:
    """A folder where a file is expected."""

    def damage(run: Path) -> None:
        (run / name).unlink()
        (run / name).mkdir()

    return damage


def _remove(name: str) -> Damage:
    return lambda run: (run / name).unlink()


def _replace(name: str, old: str, new: str) -> Damage:
    def damage(run: Path) -> None:
        text = (run / name).read_text()
        assert old in text
        (run / name).write_text(text.replace(old, new))

    return damage


RESUME: dict[str, tuple[Damage, str]] = {
    "no settings": (_remove("config.yaml"), "holds no run to resume"),
    "settings are a folder": (_folder("config.yaml"), "config.yaml: Is a directory"),
    "settings are not text": (_write("config.yaml", b"\xff\xfe"), "cannot read {run}/config.yaml"),
    "settings are a list": (_write("config.yaml", b"- 1"), "config.yaml must hold settings"),
    "settings are no YAML": (
        _write("config.yaml", b"a: [1"),
        "cannot read {run}/config.yaml: while",
    ),
    "a section is a value": (_write("config.yaml", b"data: 3"), "must be a mapping"),
    "a misspelt key": (_replace("config.yaml", "alpha:", "alpa:"), "did you mean data.alpha?"),
    "a value of another type": (_replace("config.yaml", "rounds: 1", "rounds: x"), "got 'x'"),
    "other settings": (
        _replace("config.yaml", "rounds: 1", "rounds: 2"),
        "config.yaml must be as the run wrote it",
    ),
    "another seed": (
        _replace("config.yaml", "\nseed: 0", "\nseed: 1"),
        "config.yaml must be as the run wrote it",
    ),
    "no environment": (_remove("environment.json"), "cannot read {run}/environment.json: No such"),
    "environment is a list": (_write("environment.json", b"[]"), "must hold an object; got list"),
    "a cell without its row": (_remove(f"{CELL}/cell.json"), "paper--none/cell.json: No such file"),
    "a cell's row is no JSON": (_write(f"{CELL}/cell.json", b"{"), "paper--none/cell.json"),
    "a cell's row is empty": (_write(f"{CELL}/cell.json", b"{}"), "cell.json must have defence,"),
}
REPORT: dict[str, tuple[Damage, str]] = {
    "no summary": (_remove("summary.json"), "{run} must be a finished run: secure-fl run --resume"),
    "summary is a list": (_write("summary.json", b"[]"), "must hold an object; got list"),
    "summary without rows": (_write("summary.json", b"{}"), "must hold a non-empty list"),
    "settings are not text": (_write("config.yaml", b"\xff\xfe"), "cannot read {run}/config.yaml"),
    "settings are no YAML": (
        _write("config.yaml", b"a: [1"),
        "cannot read {run}/config.yaml: while",
    ),
    "rounds are no JSON": (_write(f"{CELL}/rounds.jsonl", b"{"), "rounds.jsonl line 1 is not JSON"),
    "rounds are numbers": (
        _write(f"{CELL}/rounds.jsonl", b"3"),
        "rounds.jsonl line 1 must hold an object; got '3'",
    ),
    "chain is empty": (_write("chain.jsonl", b""), "holds no chain"),
    "report is a folder": (_folder("report.html"), "report.html: Is a directory"),
}
CASES = [
    *(("run", "--resume", name, *case) for name, case in RESUME.items()),
    *(("report", "", name, *case) for name, case in REPORT.items()),
]


@pytest.mark.parametrize(
    ("command", "option", "name", "damage", "message"), CASES, ids=[f"{c[0]}-{c[2]}" for c in CASES]
)
def test_a_damaged_run_is_named_in_one_line(
    command: str,
    option: str,
    name: str,
    damage: Damage,
    message: str,
    finished: Path,
    tmp_path: Path,
    capsys: Capture,
) -> None:
    run = tmp_path / "job"
    shutil.copytree(finished, run)
    damage(run)
    summary = (run / "summary.json").read_bytes() if (run / "summary.json").exists() else None
    assert cli.main([command, *([option] if option else []), str(run)]) in (1, 2)
    said = capsys.readouterr().err
    assert said.startswith("secure-fl: ")
    assert said.count("\n") == 1
    assert message.format(run=run) in said
    assert not list(run.rglob("*.partial"))
    if summary is not None:
        assert (run / "summary.json").read_bytes() == summary


def test_a_missing_cell_is_run_again_and_a_row_of_another_cell_is_not_taken(
    finished: Path, tmp_path: Path, capsys: Capture
) -> None:
    run = tmp_path / "job"
    shutil.copytree(finished, run)
    shutil.rmtree(run / CELL)
    assert cli.main(["run", "--resume", str(run)]) == 0
    before = json.loads((finished / CELL / "cell.json").read_text())
    after = json.loads((run / CELL / "cell.json").read_text())
    assert after["final_model_sha256"] == before["final_model_sha256"]
    shutil.copy(run / "cells/fedavg--none/cell.json", run / CELL / "cell.json")
    capsys.readouterr()
    assert cli.main(["run", "--resume", str(run)]) == 2
    assert "is not the row of this cell" in capsys.readouterr().err
