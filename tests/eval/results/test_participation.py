"""Cells that fail, and hospitals that were left out: recorded, said, and never the end of a job."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval.audit.run import audit_run
from eval.cli.main import main
from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from eval.results import participation
from eval.results.participation import warnings
from eval.results.records import load_run
from eval.tables import quality_sheet
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job

DIVERGING = ("train.optimizer=sgd", "train.lr=1e8", "privacy.clip_norm=null", "rounds=1")


def row(accepted: list[bool | None], refused: dict[str, str], loss: float | None = 0.5) -> Any:
    return {"round": 1, "accepted": accepted, "refused": refused, "loss": loss}


def test_ordinary_rounds_need_no_warning() -> None:
    rows = [{"round": 0}, row([True, False, None, True], {}), row([True] * 4, {"2": "mean"})]
    assert warnings(rows, [2], 4) == []


def test_each_warning_counts_its_rounds() -> None:
    rows = [
        {"round": 0},
        row([None, None, True, None], {"0": "too large", "1": "late", "3": "too large"}),
        row([None, False, None, False], {"0": "too large", "2": "evil"}),
        row([True, True, True, True], {}, None),
    ]
    assert warnings(rows, [2], 4) == [
        "honest hospitals were refused in 2 of 3 rounds, up to 3 of 3 at once "
        "(hospital 0: too large)",
        "no hospital's update was combined in 1 of 3 rounds",
        "only malicious hospitals' updates were combined in 1 of 3 rounds",
        "the model's loss on the validators' rows was not finite in 1 of 3 rounds",
    ]


def test_a_note_stays_short() -> None:
    rows = [{"cell": f"c{i}", "warnings": ["is odd"]} for i in range(7)]
    assert participation.note(rows).endswith("c3: is odd. And 3 more.")
    assert participation.note([{"cell": "c", "warnings": []}, {"cell": "d"}]) == ""


def test_a_job_whose_training_diverges_says_so_everywhere(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "run"
    own = ["defences=[guarded, robust]", "attacks=[sign_flip]", "defence.backend=plain"]
    settings = [*tiny_job.SETTINGS, *DIVERGING, *own]
    assert main(["run", *settings, "--out", str(folder)]) == 1
    shown = capsys.readouterr()
    assert "guarded--none" in shown.out
    assert "FAILED: training on the validators' public half diverged in round 1" in shown.out
    assert "WARNING: honest hospitals were refused in 1 of 1 rounds, up to 4 of 4" in shown.out
    assert "WARNING: only malicious hospitals' updates were combined in 1 of 1" in shown.out
    (last,) = shown.err.splitlines()
    assert last.startswith("secure-fl: 2 of 5 cells failed (secure-fl run --resume ")
    assert "lower train.lr; got 1e+08" in last
    assert {p.name for p in (folder / "cells").iterdir()} == {
        "robust--none",
        "robust--sign_flip",
        "root_only--none",
    }
    failed = grid.failures(folder)
    assert [each["cell"] for each in failed] == ["guarded--none", "guarded--sign_flip"]
    assert failed[1]["reason"] == "guarded--none, whose rates it is compared with, failed"
    page = (folder / "report.html").read_text(encoding="utf-8")
    assert "Not all went as planned" in page
    assert "guarded--none failed: training on the validators" in page
    assert "robust--none: no hospital&#39;s update was combined in 1 of 1 rounds" in page
    assert "WARNING. robust--none: honest" in quality_sheet(load_run(folder).rows).note
    assert main(["run", "--resume", str(folder)]) == 1  # and it is tried again, with one outcome
    assert [each["cell"] for each in grid.failures(folder)] == [each["cell"] for each in failed]


FLAKY = '''
from dataclasses import dataclass
from pathlib import Path

from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Flaky(Attack):
    """Fails in the second round as long as a file is there."""

    def craft(self, honest, own, view):
        if view.round == 1 and Path("broken").exists():
            raise KeyError("out of luck")
        return -own
'''


def test_a_cell_that_failed_is_run_again_and_the_others_were_not_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("flaky_attack_module.py").write_text(FLAKY)
    Path("broken").touch()
    name = "flaky_attack_module:Flaky"
    config = tiny_job.config(f"attacks=['{name}', sign_flip]", "defences=[fedavg, robust]")
    federation = starting.start_job(config, tmp_path / "run", [])
    grid.run_job(config, federation, tmp_path / "run", Silent())
    failed = grid.failures(tmp_path / "run")
    assert [each["cell"] for each in failed] == ["fedavg--Flaky", "robust--Flaky"]
    place = "attack Flaky(), in craft (flaky_attack_module.py, line 14)"
    assert failed[0]["reason"] == f"{place}: KeyError: 'out of luck'"
    assert "in craft" in failed[0]["traceback"]
    assert len(list((tmp_path / "run" / "cells").iterdir())) == 4
    found = audit_run(tmp_path / "run", measures=False, allow=[name])
    assert found.findings == []
    missing = [each for each in found.unchecked if "failed in the run" in str(each)]
    assert len(missing) == 2
    assert found.outcome.name == "INCOMPLETE"
    Path("broken").unlink()
    again = starting.resume_job(tmp_path / "run", [name])
    grid.run_job(again, prepare(again), tmp_path / "run", Silent())
    assert grid.failures(tmp_path / "run") == []
    assert audit_run(tmp_path / "run", measures=False, allow=[name]).findings == []
    rows = json.loads((tmp_path / "run" / "summary.json").read_text())["rows"]
    assert len(rows) == 6
