"""PASSED, INCOMPLETE or FAILED: what was not compared is named, and what differs is found.

Whoever changes a run here knows the program: hashes, manifest and job chain are made to fit again.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from attacks import Attack
from eval.audit.openings import difference
from eval.audit.records import CellRecords, read_cell, result_of
from eval.audit.run import Outcome, RunAudit, audit_run
from eval.audit.settings import check_against_settings, check_contract, stopping_round
from eval.cli import main as cli
from eval.jobs import grid
from eval.jobs.evaluate import Judge
from eval.jobs.grid import plan
from eval.jobs.manifest import write_manifest
from eval.report.report import write_report
from ledger import Parameters
from ledger.audit.chain_file import audit
from ledger.audit.report import AuditReport
from ledger.members.members import HOSPITAL, NODE, VALIDATOR
from secure_fl import data
from secure_fl.aggregation import build_rule
from secure_fl.aggregation.openings import UNIT, digest
from secure_fl.data.prepared import keep
from secure_fl.files import canonical_json, write_json
from secure_fl.settings import ledger as ledger_settings
from secure_fl.simulation.folder import read_model, records_digest
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.run import RunConfig
from tests.support import tiny_job

PLAIN, CHAINED = "fedavg--backdoor", "paper--backdoor"
ROUNDS = "rounds=3"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tiny_job.run(tmp_path_factory.mktemp("job") / "named", [ROUNDS])
    write_report(folder)
    return folder


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    """A copy under another name, without its pages."""
    folder = Path(shutil.copytree(original, tmp_path / "renamed"))
    shutil.rmtree(folder / "figures")
    for name in ("report.html", "explorer.html"):
        (folder / name).unlink()
    return folder


@pytest.fixture
def drawn(original: Path, tmp_path: Path) -> Path:
    """A copy under another name, pages and all."""
    return Path(shutil.copytree(original, tmp_path / "renamed"))


def quick(run: Path) -> RunAudit:
    return audit_run(run, measures=False)


def places(report: RunAudit) -> list[str]:
    return [finding.place for finding in report.findings]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, content: list[dict[str, Any]]) -> None:
    path.write_text("".join(canonical_json(row) + "\n" for row in content))


def edit(path: Path, **change: Any) -> None:
    write_json(path, json.loads(path.read_text()) | change)


def forge(run: Path) -> None:
    """Make summary, manifest and job chain fit the cells again."""
    summary = json.loads((run / "summary.json").read_text())
    here = {p.parent.name: json.loads(p.read_text()) for p in run.glob("cells/*/cell.json")}
    names = [row["cell"] for row in summary["rows"]]
    order = [name for name in names if name in here]
    kept = [here[name] for name in [*order, *(n for n in sorted(here) if n not in names)]]
    edit(run / "summary.json", rows=kept, seconds=sum(row["seconds"] for row in kept))
    write_manifest(run)


def cut(run: Path, name: str, kept: int) -> None:
    """Let a cell without a ledger end after `kept` rounds, all its hashes made to fit."""
    folder = run / "cells" / name
    played = rows(folder / "rounds.jsonl")[: kept + 1]
    opened = [row for row in rows(folder / "openings.jsonl") if row["round"] <= kept]
    write_rows(folder / "rounds.jsonl", played)
    write_rows(folder / "openings.jsonl", opened)
    for path in (folder / "models").glob("round-*.npy"):
        if int(path.stem.rpartition("-")[2]) > kept:
            path.unlink()
    last = played[-1]
    shutil.copy(folder / "models" / f"round-{kept:03d}.npy", folder / "models" / "final.npy")
    shown = {key: last[key] for key in ("accuracy", "loss", "f1", "model_sha256")}
    edit(
        folder / "closing.json",
        **shown,
        candidate_sha256=last["model_sha256"],
        entry=kept + 1,
        records_sha256=records_digest(played, opened),
    )
    edit(folder / "cell.json", rounds_run=kept, final_model_sha256=last["model_sha256"])


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
    measured = grid.measures(federation, Judge(federation, Attack()), result)
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


# ---- openings

ROW = {"round": 1, "sha256": "a" * 64}


def _flags(name: str, *values: float) -> dict[str, Any]:
    return ROW | {"name": name, "shape": [len(values)], "unit": None, "value": list(values)}


def _update(d: int = 2, **change: Any) -> dict[str, Any]:
    values = [0.0] * d if d <= 64 else None
    row = ROW | {"name": "update", "shape": [d], "unit": UNIT, "value": values} | change
    return {k: v for k, v in row.items() if v is not None}


FOUR, NONE = (1.0, 0.0, 1.0, 1.0), (0.0,) * 4
ZERO = digest(torch.zeros(2))


@pytest.mark.parametrize(
    ("rule", "rows", "opened", "fault"),
    [
        ("median", 4, [_update()], ""),
        ("median", 0, [_update(sha256=ZERO)], ""),
        ("median", 0, [_update()], "hold an update of 0 hospitals; 1 are combined at least"),
        ("median", 4, [], "are 0; the rule opens 1"),
        ("median", 4, [_update(3)], "the rule declares ('update', (2,)"),
        ("median", 4, [_update(unit=1.0)], "the rule declares ('update', (2,)"),
        ("median", 4, [_update(), _update()], "are 2; the rule opens 1"),
        ("median", 4, [_flags("accepted", *FOUR), _update()], "are 2; the rule opens 1"),
        ("median", 4, [_update(sha256=None)], "without its hash"),
        ("median", 4, [_update(value=None)], "hold no value of 'update', 2 numbers"),
        ("median", 4, [_update(value=[0.0])], "hold 1 numbers of 'update', which has 2"),
        ("cosine_median", 4, [_flags("accepted", *FOUR), _update()], ""),
        ("cosine_median", 4, [_flags("accepted", *NONE), _update()], ""),
        ("cosine_median", 0, [_update(sha256=ZERO)], ""),
        ("cosine_median", 4, [_update()], "open 'update' for 2 hospitals; [4] were left"),
        ("cosine_median", 5, [_flags("accepted", *FOUR), _update()], "for 4 hospitals; [5] were"),
        ("cosine_median", 4, [_flags("used", *FOUR), _update()], "the rule declares ('accepted'"),
        ("guarded", 4, [_flags("accepted", *FOUR), _flags("used", *FOUR), _update()], ""),
        ("guarded", 4, [_flags("used", *FOUR), _flags("accepted", *FOUR), _update()], "declares"),
        ("guarded", 4, [_flags("accepted", *FOUR), _update()], "open 'update' for 2 hospitals"),
    ],
)
def test_openings_are_held_to_the_declaration(
    rule: str, rows: int, opened: list[dict[str, Any]], fault: str
) -> None:
    said = difference(opened, build_rule(rule), rows, 2)
    assert fault in said
    assert bool(said) == bool(fault)


@pytest.mark.parametrize(
    ("rows", "opened", "fault"),
    [
        (2, [_update(sha256=ZERO)], ""),
        (2, [_update()], "hold an update of 2 hospitals; 3 are combined at least"),
        (2, [_flags("accepted", 1.0, 1.0), _update()], "open 'accepted' for 2 hospitals"),
        (4, [_flags("accepted", *FOUR), _flags("used", *FOUR), _update()], ""),
    ],
)
def test_too_few_open_nothing(rows: int, opened: list[dict[str, Any]], fault: str) -> None:
    said = difference(opened, build_rule("guarded"), rows, 2, minimum=3)
    assert fault in said
    assert bool(said) == bool(fault)


@pytest.mark.parametrize("name", ["paper", "guarded"])
def test_an_opening_that_no_rule_declares_is_found(name: str, tmp_path: Path) -> None:
    settings = [f"defence={name}", "ledger=pyevm", "attacks=[]", "rounds=1"]
    folder = tiny_job.run(tmp_path / "run", settings) / "cells" / f"{name}--none"
    cell, config = read_cell(folder), tiny_job.config(*settings)
    planned = plan(config)[0]
    assert list(check_against_settings(cell, planned)) == []
    more = replace(cell, openings=[*cell.openings, _flags("extra", *FOUR)])
    found = [finding.place for finding in check_against_settings(more, planned)]
    assert found == [f"cells/{name}--none/openings.jsonl, round 1"]
    cell.openings[-1]["sha256"] = "0" * 64
    found = [finding.place for finding in check_against_settings(cell, planned)]
    assert found == [f"cells/{name}--none/openings.jsonl, round 1, update"]


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


# ---- what cannot be compared


MIMIC = "vanishing:Mimic"
ATTACK = '''
from dataclasses import dataclass
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Mimic(Attack):
    """Repeat the first honest update."""
    knowledge = "omniscient"

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
