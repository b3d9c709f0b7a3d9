"""A job of objects: its folder is audited where they can be imported by name; else it says why."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import secure_fl
from eval.audit.outcome import Outcome
from eval.audit.run import audit_run, unbuilt
from eval.report.report import write_report
from secure_fl.errors import InputError
from secure_fl.extensions import NONE
from secure_fl.federation import Federation
from secure_fl.settings.objects import experiment

OWN = """
from dataclasses import dataclass
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Shrunk(Attack):
    \"\"\"Send less.\"\"\"
    scale: float = 0.0

    def craft(self, honest, own, view):
        return self.scale * own
"""


def rows(m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    x = np.random.default_rng(seed).random((m, 5))
    return x, x[:, :3].argmax(axis=1)


@pytest.fixture(scope="module")
def federation() -> Federation:
    return Federation.from_arrays(
        [rows(40, i) for i in range(4)], rows(40, 10), [rows(30, 20)], rows(60, 30)
    )


def test_a_job_of_objects_is_audited(
    federation: Federation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shrunk_of_mine.py").write_text(OWN)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    own: Any = importlib.import_module("shrunk_of_mine")
    folder = tmp_path / "made"
    made = secure_fl.run_job(
        federation, folder, [own.Shrunk(0.5)], ["median"], malicious=0.25, rounds=1
    )
    assert [row["cell"] for row in made] == ["median--none", "median--Shrunk"]
    write_report(folder)
    allow = ["shrunk_of_mine:Shrunk"]
    report = audit_run(folder, allow=allow, federation=federation)
    assert (report.outcome, report.findings, report.unchecked) == (Outcome.PASSED, [], [])
    # What is not handed over again, or not permitted, is named with the reason.
    alone = audit_run(folder, allow=allow)
    assert alone.outcome is Outcome.INCOMPLETE
    assert ["handed over in Python" in each.reason for each in alone.unchecked] == [True]
    barred = audit_run(folder, federation=federation)
    assert any("--allow shrunk_of_mine:Shrunk" in each.reason for each in barred.unchecked)
    # Other data are no data of this run.
    others = Federation.from_arrays(
        [rows(40, 50 + i) for i in range(4)], rows(40, 10), [rows(30, 20)], rows(60, 30)
    )
    assert audit_run(folder, allow=allow, federation=others).outcome is Outcome.FAILED
    with pytest.raises(InputError, match="exists"):
        secure_fl.run_job(federation, folder)


def test_a_class_of_a_notebook_is_told_from_one_that_is_not_permitted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "shrunk_in_cell.py").write_text(OWN)
    monkeypatch.syspath_prepend(str(tmp_path))
    own: Any = importlib.import_module("shrunk_in_cell")
    own.Shrunk.__module__ = "__main__"
    config = experiment(4, 1, [own.Shrunk(0.5)], ["median"], malicious=0.25)
    assert config.attacks[0].name == "__main__:Shrunk"
    config.extensions = NONE
    (found,) = unbuilt(config)
    assert found.reason.startswith("__main__:Shrunk is defined in the program or notebook that ran")
