"""PASSED, INCOMPLETE or FAILED: what was not compared is named, and what differs is found.

Whoever changes a run here knows the program: hashes, manifest and job chain are made to fit again.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from attacks import Attack
from eval.audit.records import CellRecords, read_cell, result_of
from eval.audit.run import Outcome, audit_run
from eval.audit.settings import check_contract, stopping_round
from eval.jobs import cell_row
from eval.jobs.evaluate import Judge
from eval.jobs.manifest import write_manifest
from eval.jobs.plan import plan
from eval.report.report import write_report
from ledger import Parameters
from ledger.audit.chain_file import audit
from ledger.audit.report import AuditReport
from ledger.members.members import HOSPITAL, NODE, VALIDATOR
from secure_fl.files import write_json
from secure_fl.settings import ledger as ledger_settings
from secure_fl.simulation.folder import read_model, records_digest
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.run import RunConfig
from tests.support import tiny_job
from tests.support.audited import (
    CHAINED,
    PLAIN,
    ROUNDS,
    cut,
    edit,
    forge,
    places,
    quick,
    rows,
    write_rows,
)

# ---- what the settings decide


def test_cells_that_were_cut_short_are_found(run: Path) -> None:
    for name in ("fedavg--none", PLAIN):
        cut(run, name, 1)
    forge(run)
    found = dict(quick(run).findings)
    for name in ("fedavg--none", PLAIN):
        assert found.pop(f"cells/{name}/rounds.jsonl") == ("holds 1 rounds; the settings ask for 3")
    assert found == {}


def test_an_early_stop_that_is_none_is_found(run: Path) -> None:
    cut(run, PLAIN, 1)
    folder = run / "cells" / PLAIN
    played = rows(folder / "rounds.jsonl")
    played[-1]["stopped"] = True
    write_rows(folder / "rounds.jsonl", played)
    digest = records_digest(played, rows(folder / "openings.jsonl"))
    edit(folder / "closing.json", records_sha256=digest)
    forge(run)
    found = dict(quick(run).findings)
    assert "by the gate's rule none does" in found[f"cells/{PLAIN}/rounds.jsonl, stopped"]
    assert "holds 1 rounds" in found[f"cells/{PLAIN}/rounds.jsonl"]


def gate_rounds(*steps: str) -> tuple[CellRecords, RunConfig]:
    """A gated cell whose rounds went so: `gain`, `same`, or `back`, a gain that was rolled back."""
    config = tiny_job.config("defences=[guarded]", "defence.guard.patience=3")
    model, made = "m0", [{"model_sha256": "m0"}]
    for number, step in enumerate(steps, start=1):
        candidate = model if step == "same" else f"m{number}"
        model = model if step == "back" else candidate
        made.append({"round": number, "candidate_sha256": candidate, "model_sha256": model})
    cell = CellRecords(Path("cells/x"), {}, made, [], {})
    return cell, next(c.run for c in plan(config) if c.run.defence.name == "guarded")


@pytest.mark.parametrize(
    ("steps", "stops"),
    [
        (["gain"] * 5, None),
        (["same"] * 3, 3),
        (["gain", "same", "same", "gain", "same", "same"], None),
        (["gain", "same", "same", "gain", "same", "same", "same"], 7),
        # After a rollback the gate starts from the model before: that counts as a round more.
        (["back", "same", "same"], 3),
        (["back", "gain", "same"], None),
    ],
)
def test_the_gates_early_stop_follows_from_the_models_hashes(
    steps: list[str], stops: int | None
) -> None:
    cell, run = gate_rounds(*steps)
    assert stopping_round(cell, run) == stops
    ungated = replace(run.defence, guard={"gate": False, "patience": 1})
    assert stopping_round(cell, replace(run, defence=ungated)) is None
    assert (
        stopping_round(
            cell, replace(run, defence=replace(run.defence, validation="none", guard={}))
        )
        is None
    )


def test_another_tuned_model_is_found_by_tuning_again(tmp_path: Path) -> None:
    """Here somebody puts the untuned model in its place, all measures and hashes made to fit."""
    settings = ["defences=[guarded]", "attacks=[]", "rounds=1"]
    settings += ["defence.ledger=false", "defence.reputation=false"]
    folder = tiny_job.run(tmp_path / "run", settings)
    assert audit_run(folder).findings == []
    cell = folder / "cells" / "guarded--none"
    shutil.copy(cell / "models" / "round-001.npy", cell / "models" / "final.npy")
    last = rows(cell / "rounds.jsonl")[-1]
    shown = {key: last[key] for key in ("accuracy", "loss", "f1", "model_sha256")}
    edit(cell / "closing.json", **shown, candidate_sha256=last["model_sha256"])
    config = tiny_job.config(*settings)
    federation, model = prepare(config), read_model(cell / "models" / "final.npy")
    result = result_of(read_cell(cell), model)
    measured = cell_row.measures(federation, Judge(federation, Attack()), result)
    edit(cell / "cell.json", **measured, final_model_sha256=last["model_sha256"])
    forge(folder)
    assert places(audit_run(folder)) == ["cells/guarded--none/models/final.npy"]


@pytest.mark.parametrize("patience", [1, 2])
def test_a_run_that_stopped_early_passes(patience: int, tmp_path: Path) -> None:
    """With steps too long for any gain, the gate stops after its patience."""
    settings = ["defences=[guarded]", "attacks=[]", "defence.guard.steps=[1000000]", "rounds=4"]
    settings += [f"defence.guard.patience={patience}", "defence.guard.tune_epochs=0"]
    folder = tiny_job.run(tmp_path / "run", settings)
    assert len(rows(folder / "cells" / "guarded--none" / "rounds.jsonl")) == patience + 1
    assert quick(folder).findings == []
    edit(folder / "environment.json", threads=7)
    write_manifest(folder)
    assert places(quick(folder)) == ["environment.json, threads"]


@pytest.mark.parametrize(
    ("change", "found"),
    [
        ({"rejection_keep": 1.0}, "rule"),
        ({"quorum": 1}, "limits"),
        ({"accuracy_drop": 1.0}, "limits"),
        ({"quorum_blocks": 7}, "timing"),
    ],
)
def test_a_contract_with_other_parameters_is_found(
    change: dict[str, Any], found: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    right = ledger_settings.LedgerConfig.build

    def build(settings: ledger_settings.LedgerConfig) -> Parameters:
        return replace(right(settings), **change)

    with monkeypatch.context() as patch:
        patch.setattr(ledger_settings.LedgerConfig, "build", build)
        folder = tiny_job.run(tmp_path / "run", ["defences=[paper]", "attacks=[]", "rounds=1"])
    report = quick(folder)
    assert places(report) == [f"cells/paper--none/chain.jsonl, {found}"]
    assert report.outcome is Outcome.FAILED


@pytest.mark.parametrize(
    ("change", "place"),
    [
        (lambda c: c.seats[HOSPITAL].append(b"h" * 20), "hospitals"),
        (lambda c: c.seats[NODE].pop(), "nodes"),
        (lambda c: c.seats[VALIDATOR].pop(), "validators"),
        (lambda c: c.parameters.clear(), "rule"),
        (lambda c: c.administration.append((10**6, "reinstated hospital 0")), "block 1000000"),
        (lambda c: setattr(c.rounds[1], "posted_root", b"r" * 32), ""),
    ],
)
def test_members_and_administration_are_those_of_the_settings(
    change: Callable[[AuditReport], None], place: str, original: Path
) -> None:
    chain = audit(original / "cells" / CHAINED / "chain.jsonl")
    cell, config = read_cell(original / "cells" / CHAINED), tiny_job.config(ROUNDS)
    (planned,) = (each for each in plan(config) if each.name == CHAINED)
    assert list(check_contract(cell, planned, chain)) == []
    change(chain)
    found = [finding.place for finding in check_contract(cell, planned, chain)]
    start = f"cells/{CHAINED}/chain.jsonl"
    assert found[0] == (f"{start}, {place}" if place else start)


# ---- cells


def test_a_dropped_cell_is_found(run: Path) -> None:
    shutil.rmtree(run / "cells" / PLAIN)
    forge(run)
    assert dict(quick(run).findings) == {f"cells/{PLAIN}": "is missing or unreadable"}


def test_a_cell_that_failed_is_named_and_keeps_the_audit_incomplete(run: Path) -> None:
    shutil.rmtree(run / "cells" / PLAIN)
    forge(run)
    failed = [{"cell": PLAIN, "reason": "no memory", "traceback": ""}]
    edit(run / "summary.json", failed=failed)
    write_manifest(run)
    report = quick(run)
    assert report.findings == []
    assert report.outcome is Outcome.INCOMPLETE
    told = dict(report.unchecked)
    assert told[f"cells/{PLAIN}"] == "the cell failed in the run: no memory"
    edit(run / "summary.json", failed=[*failed, failed[0] | {"cell": CHAINED}])
    write_manifest(run)
    assert places(quick(run)) == [f"summary.json, failed, {CHAINED}"]


def test_an_additional_cell_is_found(run: Path) -> None:
    shutil.copytree(run / "cells" / PLAIN, run / "cells" / "fedavg--chosen")
    edit(run / "cells" / "fedavg--chosen" / "cell.json", cell="fedavg--chosen")
    forge(run)
    found = dict(quick(run).findings)
    assert found.pop("cells/fedavg--chosen") == "is not a cell of the settings"
    assert set(found) == {"summary.json, rows", "summary.json, seconds"}


@pytest.mark.parametrize("renamed", [False, True])
def test_swapped_cells_are_found(renamed: bool, run: Path) -> None:
    """The attacked cell shown as the clean one; also where its row is made to say so."""
    one, other, aside = (run / "cells" / n for n in ("fedavg--none", PLAIN, "aside"))
    ours = {p.name: json.loads((p / "cell.json").read_text()) for p in (one, other)}
    one.rename(aside)
    other.rename(one)
    aside.rename(other)
    if renamed:
        keys = ("cell", "attack", "objective", "malicious", "malicious_fraction")
        for folder in (one, other):
            edit(folder / "cell.json", **{key: ours[folder.name][key] for key in keys})
    forge(run)
    report = quick(run)
    assert "cells/fedavg--none/rounds.jsonl line 1" in places(report)
    assert ("cells/fedavg--none/cell.json, cell" in places(report)) != renamed


def test_what_no_run_writes_is_found(run: Path) -> None:
    edit(run / "cells" / PLAIN / "cell.json", remark="reviewed")
    edit(run / "summary.json", verdict="best")
    forge(run)
    assert places(quick(run)) == [f"cells/{PLAIN}/cell.json, remark", "summary.json, verdict"]


# ---- pages


def test_pages_are_the_same_wherever_the_folder_is(drawn: Path) -> None:
    report = quick(drawn)
    assert report.findings == []
    assert {"report.html", "explorer.html"} < set(report.pages)
    assert len(report.pages) > 4
    assert [what for what, _ in report.unchecked] == ["measures"]


def test_changed_pages_and_figures_are_found(drawn: Path) -> None:
    for name, old, new in (
        ("report.html", b"Accuracy", b"accuracy"),
        ("explorer.html", b"Blocks", b"blocks"),
    ):
        content = (drawn / name).read_bytes()
        assert old in content
        (drawn / name).write_bytes(content.replace(old, new, 1))
    figure = next((drawn / "figures").glob("*.png"))
    shutil.copy(figure, drawn / "figures" / "another.png")
    figure.write_bytes(figure.read_bytes()[:-1] + b"x")
    report = quick(drawn)
    assert sorted(places(report)) == sorted(
        ["report.html", "explorer.html", "figures/another.png", f"figures/{figure.name}"]
    )
    assert report.outcome is Outcome.FAILED


def test_under_other_versions_words_are_compared_and_pictures_named(drawn: Path) -> None:
    known = json.loads((drawn / "environment.json").read_text())
    known["packages"]["matplotlib"] = "1.0"
    write_json(drawn / "environment.json", known)
    forge(drawn)
    write_report(drawn)  # the report shows the versions
    figure = next((drawn / "figures").glob("*.png"))
    figure.write_bytes(figure.read_bytes() + b"drawn otherwise")
    page = (drawn / "report.html").read_bytes()
    (drawn / "report.html").write_bytes(page.replace(b"base64,iVBOR", b"base64,iVBOX", 1))
    report = quick(drawn)
    assert report.findings == []
    unchecked = dict(report.unchecked)
    assert "matplotlib 1.0, here " in unchecked[f"figures/{figure.name}"]
    assert "matplotlib 1.0, here " in unchecked["report.html"]
    (drawn / "report.html").write_bytes(page.replace(b"Accuracy", b"accuracy", 1))
    assert places(quick(drawn)) == ["report.html"]


def test_settings_that_the_job_chain_does_not_hold_are_not_measured_with(run: Path) -> None:
    config = run / "config.yaml"
    config.write_text(config.read_text().replace("rounds: 3", "rounds: 4"))
    report = audit_run(run)
    assert "is not the one on the job's chain" in dict(report.unchecked)["measures"]
    assert report.measured is None


# ---- what nobody would compare


def _extra_round(run: Path) -> None:
    folder = run / "cells" / PLAIN
    played, opened = rows(folder / "rounds.jsonl"), rows(folder / "openings.jsonl")
    played[1]["note"] = "an extra key"
    played[2]["mpc"]["note"] = played[2]["seconds"]["note"] = 1.0
    opened[0]["note"] = "another"
    write_rows(folder / "rounds.jsonl", played)
    write_rows(folder / "openings.jsonl", opened)
    edit(folder / "closing.json", records_sha256=records_digest(played, opened), note="a third")


def test_keys_that_no_run_writes_are_found(run: Path) -> None:
    _extra_round(run)
    edit(run / "cells" / CHAINED / "closing.json", note="unsigned")
    edit(run / "environment.json", note="anything")
    forge(run)
    found = {place for place, fault in quick(run).findings if "nothing that a run writes" in fault}
    assert found == {
        f"cells/{PLAIN}/rounds.jsonl line 2, note",
        f"cells/{PLAIN}/rounds.jsonl line 3, mpc, note",
        f"cells/{PLAIN}/rounds.jsonl line 3, seconds, note",
        f"cells/{PLAIN}/openings.jsonl line 1, note",
        f"cells/{PLAIN}/closing.json, note",
        f"cells/{CHAINED}/closing.json, note",
        "environment.json, note",
    }


def test_pages_that_are_gone_are_named(drawn: Path) -> None:
    (drawn / "report.html").unlink()
    figure = next((drawn / "figures").glob("*.png"))
    figure.unlink()
    report = quick(drawn)
    assert report.findings == []
    gone = {each.what for each in report.unchecked} - {"measures"}
    assert gone == {"report.html", f"figures/{figure.name}"}


def test_a_file_in_the_place_of_the_figures_or_of_the_lock_is_found(run: Path) -> None:
    (run / "figures").write_text("anything at all")
    (run / ".lock").write_text("#!/bin/sh")
    assert places(quick(run)) == [".lock", "figures"]
    (run / "figures").unlink()
    (run / ".lock").write_text("12345")  # of a writer that was killed
    assert places(quick(run)) == []


def test_a_number_that_no_float_holds_is_found(run: Path) -> None:
    path = run / "cells" / CHAINED / "cell.json"
    spent = json.loads(path.read_text())["ledger_ms_per_round"]
    path.write_text(path.read_text().replace(str(spent), "1e999"))
    write_manifest(run)
    assert any("too large a number" in finding.fault for finding in quick(run).findings)
