"""INCOMPLETE: what an audit cannot compare it names, and finds the rest.

Whoever changes a run here knows the program: hashes, manifest and job chain are made to fit again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from eval.audit.run import Outcome, audit_run
from eval.cli import main as cli
from eval.jobs.manifest import write_manifest
from eval.report.report import write_report
from secure_fl import data
from secure_fl.data.prepared import keep
from tests.support import tiny_job
from tests.support.audited import (
    edit,
    forge,
    places,
    quick,
)

MIMIC = "vanishing:Mimic"
ATTACK = '''
from dataclasses import dataclass
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Mimic(Attack):
    """Repeat the first honest update, and praise it."""
    knowledge = "omniscient"

    def dishonest(self, validators):
        return validators

    def testify(self, measured, seat):
        return measured._replace(accuracy=1.0)

    def craft(self, honest, own, view):
        return honest[:1].repeat(len(own), 1)
'''


@pytest.fixture(scope="module")
def borrowed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with an attack of somebody's own, whose module is not here any more."""
    home = tmp_path_factory.mktemp("home")
    (home / "vanishing.py").write_text(ATTACK)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(home)
        settings = ["attacks=[]", f"attack={MIMIC}", "defences=[fedavg]", "rounds=1"]
        folder = tiny_job.run(home / "run", settings)
        whole = audit_run(folder, allow=[MIMIC])
        assert whole.findings == []
        assert [each.what for each in whole.unchecked] == ["pages and figures"]
    sys.modules.pop("vanishing", None)
    return folder


def test_without_measures_an_audit_is_incomplete(
    borrowed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run = Path(shutil.copytree(borrowed, tmp_path / "run"))
    allow = ["--no-measure", "--allow", MIMIC]
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(borrowed.parent)
        assert cli.main(["audit", str(run), *allow]) == 3
    out = capsys.readouterr().out
    assert "INCOMPLETE, 2 thing(s) not checked; all else holds\n" in out
    assert "  not checked: measures: --no-measure\n" in out
    (run / "cells" / "fedavg--Mimic" / "closing.json").write_text("{}")
    assert quick(run).outcome is Outcome.FAILED


def test_an_attack_that_is_not_here_is_named(
    borrowed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main(["audit", str(borrowed)]) == 3
    out = capsys.readouterr().out
    assert f"not checked: success of attack {MIMIC}: " in out
    assert "--allow" in out
    assert "figures again from models and data" in out


@pytest.mark.parametrize("key", ["accuracy", "f1", "drift", "attack_success_raw"])
def test_figures_edited_behind_an_attack_that_is_not_here(
    key: str, borrowed: Path, tmp_path: Path
) -> None:
    """What needs no attack is measured, and found; the rest keeps the audit incomplete."""
    folder = Path(shutil.copytree(borrowed, tmp_path / "run"))
    for path in folder.glob("cells/*Mimic/cell.json"):
        edit(path, **{key: 0.987})
    forge(folder)
    report = audit_run(folder)
    found = [] if key.startswith("attack") else [f"cells/fedavg--Mimic/cell.json, {key}"]
    assert places(report) == found
    assert report.outcome is (Outcome.FAILED if found else Outcome.INCOMPLETE)


def _prepared(folder: Path, label: int) -> Path:
    """The shipped data as a file of one's own, so many labels changed."""
    dataset = data.load("support2", None)
    y = dataset.y.copy()
    y[:label] = 1 - y[:label]
    dataset = replace(dataset, name="mimic3", y=y)
    path = folder / f"data-{label}.npz"
    keep(dataset, path)
    return path


def test_data_that_are_not_here_are_named_and_other_data_are_found(tmp_path: Path) -> None:
    path = _prepared(tmp_path, 0)
    settings = ["data=mimic3", f"data.path={path}", "attacks=[]", "defences=[fedavg]", "rounds=1"]
    folder = tiny_job.run(tmp_path / "run", settings)
    write_report(folder)
    assert audit_run(folder, data=path).outcome is Outcome.PASSED
    kept = path.rename(tmp_path / "kept.npz")
    assert audit_run(folder, data=kept).outcome is Outcome.PASSED
    begun = json.loads((folder / "environment.json").read_text())
    swapped = begun["parties"] | {"hospitals": begun["parties"]["hospitals"][::-1]}
    edit(folder / "environment.json", parties=swapped)
    told = places(audit_run(folder, data=kept))
    assert "environment.json, parties" in told
    edit(folder / "environment.json", parties=begun["parties"])
    gone = audit_run(folder, data=path)
    assert gone.outcome is Outcome.INCOMPLETE
    assert gone.unchecked[0].what == "measures"
    assert "data.path" in gone.unchecked[0].reason
    _prepared(tmp_path, 1).rename(path)
    other = audit_run(folder, data=path)
    assert places(other) == ["environment.json, data_sha256"]
    assert [each.what for each in other.unchecked] == ["measures"]
    # A record that says otherwise than the cells is found without the data.
    edit(folder / "environment.json", data_sha256="0" * 64)
    write_manifest(folder)
    place = "cells/fedavg--none/rounds.jsonl line 1, data_sha256"
    assert [found for found in places(quick(folder)) if not found.endswith(".html")] == [place]


@pytest.mark.parametrize("place", ["/etc", "/dev/zero", "pipes"])
def test_an_audit_follows_no_path_that_the_folder_names(
    place: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = _prepared(tmp_path, 0)
    settings = ["data=mimic3", f"data.path={path}", "attacks=[]", "defences=[fedavg]", "rounds=1"]
    folder = tiny_job.run(tmp_path / "run", settings)
    (tmp_path / "pipes").mkdir()
    for name in ("PATIENTS", "ADMISSIONS", "ICUSTAYS", "CHARTEVENTS", "LABEVENTS"):
        os.mkfifo(tmp_path / "pipes" / f"{name}.csv")
    config = folder / "config.yaml"
    config.write_text(config.read_text().replace(str(path), str(tmp_path / place)))
    forge(folder)
    told = dict(audit_run(folder).unchecked)
    assert "give yours with --data" in told["measures"]
    # Named by whoever audits, a folder of pipes is read as one without tables.
    assert cli.main(["audit", str(folder), "--data", str(tmp_path / "pipes")]) == 1
    assert "not checked: measures: mimic3: " in capsys.readouterr().out
