"""A whole job on ten classes, and its figures against scikit-learn's."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

from attacks import load
from attacks.samples import sample_view
from eval.audit.measures import Measured, _strange_classes
from eval.audit.outcome import Outcome
from eval.audit.run import audit_run
from eval.jobs import grid, starting
from eval.jobs.evaluate import Judge
from eval.jobs.progress import Silent
from eval.report.report import write_report
from eval.results.records import load_run
from eval.tables import class_sheet, sheets
from secure_fl.errors import ConfigError
from secure_fl.federation import Federation
from secure_fl.server.validation import validate
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config
from secure_fl.simulation.folder import read_model
from secure_fl.simulation.prepare import prepare

SETTINGS = (
    "data=digits",
    "data.hospitals=4",
    "data.alpha=1",
    "model.params.hidden=[24]",
    "train.lr=0.01",
    "train.epochs=2",
    "privacy.clip_norm=4",
    "rounds=4",
    "malicious=0.25",
    "attacks=[label_flip, backdoor]",
    "defences=[fedavg, {name: guarded, guard: {bootstraps: 4, tune_runs: 2}}]",
    "defence.backend=fixed",
)


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Federation]:
    config = load_config(SETTINGS)
    folder = tmp_path_factory.mktemp("digits") / "run"
    federation = starting.start_job(config, folder, ["secure-fl", "run"])
    grid.run_job(config, federation, folder, Silent())
    assert grid.failures(folder) == []
    write_report(folder)
    return folder, federation


def test_ten_classes_are_learnt_and_the_audit_passes(job: tuple[Path, Federation]) -> None:
    folder, federation = job
    assert federation.data.classes == 10
    rows = {(row["defence"], row["attack"]): row for row in load_run(folder).rows}
    assert rows["fedavg", "none"]["accuracy"] > 0.8
    for defence in ("fedavg", "guarded"):
        for attack in ("label_flip", "backdoor"):
            assert rows[defence, attack]["attack_success_raw"] is not None
    report = audit_run(folder, processes=1)
    assert report.outcome is Outcome.PASSED, report.findings or report.unchecked


def test_figures_of_ten_classes_are_scikit_learns(job: tuple[Path, Federation]) -> None:
    folder, federation = job
    cell = folder / "cells" / "fedavg--none"
    row = next(r for r in load_run(folder).rows if r["cell"] == "fedavg--none")
    model, test = read_model(cell / "models" / "final.npy"), federation.data.test
    logits = federation.logits(model, test.x)
    calibration = Judge(federation, AttackConfig().build()).calibration(model)
    predicted = (logits.double().numpy() + np.array(calibration.offsets)).argmax(axis=1)
    each = sk.precision_recall_fscore_support(test.y, predicted, labels=range(10), zero_division=0)
    assert row["accuracy"] == pytest.approx(sk.accuracy_score(test.y, predicted))
    for key, values in zip(("precision", "recall", "f1"), each, strict=False):
        assert row[key] == pytest.approx(values.mean())
        found = [row["by_class"][str(c)][key] for c in range(10)]
        assert found == pytest.approx(values.tolist())
    likeliest = logits.argmax(dim=1)
    expected = sk.recall_score(test.y, likeliest, average="macro", zero_division=0)
    assert row["recall_at_even_odds"] == pytest.approx(expected)
    chances = logits.double().softmax(dim=1)
    auc = sk.roc_auc_score(test.y, chances, multi_class="ovr", average="macro")
    assert row["auc"] == pytest.approx(auc)
    alone = [sk.roc_auc_score(test.y == c, chances[:, c]) for c in range(10)]
    assert [row["by_class"][str(c)]["auc"] for c in range(10)] == pytest.approx(alone)


def test_validators_of_ten_classes_measure_macro_f1(job: tuple[Path, Federation]) -> None:
    folder, federation = job
    model = read_model(folder / "cells" / "fedavg--none" / "models" / "final.npy")
    for verdict, split in zip(validate(federation, model), federation.data.validators, strict=True):
        predicted = federation.logits(model, split.x).argmax(dim=1)
        assert verdict.f1 == pytest.approx(sk.f1_score(split.y, predicted, average="macro"))
        assert verdict.accuracy == pytest.approx(sk.accuracy_score(split.y, predicted))


def test_tables_show_classes_and_say_what_is_averaged(job: tuple[Path, Federation]) -> None:
    rows = load_run(job[0]).rows
    sheet = class_sheet(rows)
    assert sheet is not None
    assert sheet.header == ["Method", *map(str, range(10))]
    assert len(sheet.body) == 3  # FedAvg, guarded, root only
    titles = {each.title: each.note for each in sheets(rows)}
    assert "are means over the classes" in titles["Quality without attack"]
    success = next(note for title, note in titles.items() if title.startswith("Attack success"))
    assert "names each class as often as it occurs" in success


def test_a_changed_figure_of_one_class_is_found(job: tuple[Path, Federation]) -> None:
    row = next(r for r in load_run(job[0]).rows if r["cell"] == "fedavg--none")
    report = Measured()
    report.compare("cell.json", dict(row), {"by_class": row["by_class"]})
    assert report.figures == 40
    assert report.findings == []
    forged = {**row["by_class"], "3": {**row["by_class"]["3"], "f1": 2.0}}
    report.compare("cell.json", {"by_class": forged}, {"by_class": row["by_class"]})
    assert [finding.place for finding in report.findings] == ["cell.json, by_class, 3, f1"]
    strange = _strange_classes("cell.json", forged | {"10": {}}, row["by_class"])
    assert [finding.place for finding in strange] == ["cell.json, by_class, 10"]
    report.compare("cell.json", {"by_class": "x"}, {"by_class": row["by_class"]})
    assert len(report.findings) == 41


def test_a_trigger_for_one_class_is_put_on_its_rows_alone() -> None:
    x, y = torch.zeros(60, 1, 8, 8), torch.arange(60) % 10
    attack = load("backdoor", {"source_class": 7, "target_class": 2, "fraction": 0.5})
    px, py = attack.poison(x, y, sample_view(4, 1, 30))
    changed = (px != x).flatten(1).any(dim=1)
    assert changed.sum() == 3
    assert (y[changed] == 7).all()
    assert (py[changed] == 2).all()
    assert torch.equal(py[~changed], y[~changed])


def test_too_few_rows_for_all_classes_are_refused() -> None:
    settings = (
        "data=digits",
        "data.hospitals=4",
        "data.rows=90",
        "data.minimum_rows=2",
        "data.validators=2",
        "ledger.quorum=2",
    )
    with pytest.raises(ConfigError, match=r"data\.test_fraction must leave test rows of all 10"):
        prepare(load_config([*settings, "data.test_fraction=0.05"]))
