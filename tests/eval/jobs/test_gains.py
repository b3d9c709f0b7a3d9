"""The federated gain retained in a run's summary, and what an audit makes of it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from eval import tables
from eval.audit.run import audit_run
from eval.jobs.gains import add_gains, references
from eval.jobs.manifest import write_manifest
from eval.metrics.gain import KEYS
from eval.results.records import load_run
from secure_fl.files import write_json
from tests.support import tiny_job

CHANGED = ("root_only--none", "fedavg--backdoor")
TUNING = "tuning: distillation, tune_runs: 1, tune_epochs: 1, tune_copies: 1"
ALONE = f"{{name: root_only, guard: {{bootstraps: 0, root_share: 1.0, {TUNING}}}}}"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """FedAvg and, as the baseline, a root of so few rows that hospitals add to it."""
    settings = [f"defences=[fedavg, {ALONE}]", "data.root_patients=8", "train.lr=0.03"]
    return tiny_job.run(tmp_path_factory.mktemp("gains") / "run", settings)


def row(folder: Path, cell: str) -> dict[str, Any]:
    rows = load_run(folder).rows
    return dict(next(each for each in rows if each["cell"] == cell))


def test_rows_tell_the_share_of_their_runs_own_references(run: Path) -> None:
    root, clean = row(run, "root_only--none"), row(run, "fedavg--none")
    attacked = row(run, "fedavg--backdoor")
    gained = clean["auc"] - root["auc"]
    assert gained > 0.01
    assert [root[key] for key in KEYS] == [0.0, 0.0, 0.0, None]
    assert [clean[key] for key in KEYS] == [1.0, 1.0, 1.0, None]
    assert attacked["gain_retained"] == pytest.approx((attacked["auc"] - root["auc"]) / gained)
    assert attacked["gain_retained_low"] < attacked["gain_retained"]
    assert attacked["gain_retained"] < attacked["gain_retained_high"]


def test_tables_show_the_share(run: Path) -> None:
    rows = load_run(run).rows
    (sheet,) = (each for each in tables.sheets(rows) if each.title.startswith("Federated gain"))
    kept = tables.percent(row(run, "fedavg--backdoor")["gain_retained"])
    assert sheet.body == [["FedAvg", "100.0%", "100 to 100", kept]]
    assert "Gain retained" in tables.cells_sheet(rows).header
    untold = [each | {KEYS[0]: None, KEYS[3]: "of a reason"} for each in rows]
    assert not tables.gain_sheet(untold).body
    assert "Not told: of a reason." in tables.cells_sheet(untold).note
    before = [{key: each[key] for key in each.keys() - set(KEYS)} for each in rows]
    assert not tables.gain_sheet(before).body
    assert "Gain retained" not in tables.cells_sheet(before).note


def test_without_both_references_nothing_is_told() -> None:
    clean = {"attack": "none", "defence": "fedavg", "paper_method": "FedAvg", "cell": "a"}
    root = {"attack": "none", "defence": "root_only", "cell": "b"}
    assert references([clean, root]) == ("b", "a")
    assert references([clean]) is None
    assert references([root, clean | {"attack": "backdoor"}]) is None


def test_a_sweeps_rows_are_compared_with_those_of_their_own_seed_and_settings() -> None:
    made = [("root_only", 0.7), ("fedavg", 0.8), ("median", 0.75)]
    rows = [
        {"defence": name, "attack": "none", "seed": seed, "auc": auc + (seed == 1) * (auc - 0.7)}
        for seed in (0, 1)
        for name, auc in made
    ]
    rows.append({"defence": "median", "attack": "ipm", "seed": 1, "auc": 0.9})
    rows.append({"defence": "median", "attack": "alie", "seed": 1, "refused": "of a reason"})
    rows += [{"defence": "median", "attack": "none", "seed": 2, "auc": 0.9}]  # no references
    rows += [{"defence": n, "attack": "none", "seed": 3, "auc": 0.8} for n, _ in made]  # no gain
    kept = [each.get("gain_retained") for each in add_gains(rows, ("seed",))]
    assert kept[:7] == pytest.approx([0.0, 1.0, 0.5, 0.0, 1.0, 0.5, 1.0])
    assert kept[7:] == [None] * 5
    assert "gain_retained" not in rows[0]


def test_an_audit_measures_the_share_again(run: Path) -> None:
    """Here somebody writes other shares into the summary, and the hashes are made to fit."""
    assert audit_run(run).findings == []
    summary = json.loads((run / "summary.json").read_text())
    root, attacked = (next(r for r in summary["rows"] if r["cell"] == name) for name in CHANGED)
    attacked |= {"gain_retained": 0.4, "gain_retained_untold": "of a reason"}
    root["gain_retained_high"] = None
    del root["gain_retained_low"]
    write_json(run / "summary.json", summary)
    write_manifest(run)
    found = {each.place for each in audit_run(run).findings}
    assert found == {
        "summary.json, row 2 (fedavg--backdoor), gain_retained",
        "summary.json, row 2 (fedavg--backdoor), gain_retained_untold",
        "summary.json, row 3 (root_only--none), gain_retained_high",
        "summary.json, row 3 (root_only--none), gain_retained_low",
    }
