"""ChestX-ray14's 14 findings as labels, its official split: a whole job, held to scikit-learn."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn import metrics as sk

import secure_fl
from attacks import Attack, AttackView, load
from eval.audit.run import audit_run
from eval.bench.privacy import Plan, leaks
from eval.figures.parties import who_holds_what
from eval.jobs import grid, starting
from eval.jobs.evaluate import Judge
from eval.jobs.progress import Silent
from eval.metrics import calibrate_labels, label_quality
from eval.results.records import load_run
from secure_fl import data, seeds
from secure_fl.data.partition import split_rows, strata
from secure_fl.data.sets.chestxray14 import FINDINGS
from secure_fl.errors import ConfigError, InputError
from secure_fl.federation import Federation
from secure_fl.hospital.options import TrainOptions
from secure_fl.server.validation import validate
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.folder import read_model
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.run import RunConfig, make_context
from tests.support.cxr_files import write_findings

SETTINGS = (
    "data=chestxray14",
    "data.task=findings",
    "data.split=official",
    "data.balance=false",
    "data.hospitals=3",
    "data.validators=2",
    "data.minimum_rows=16",
    "ledger.quorum=2",
    "model.params.hidden=[32]",
    "train.lr=0.01",
    "train.epochs=8",
    "privacy.clip_norm=8",
    "rounds=2",
    "malicious=0.34",
    "attacks=[sign_flip]",
    "defences=[paper]",
    "defence.backend=fixed",
)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_findings(tmp_path_factory.mktemp("nih") / "files")


def config(files: Path, *overrides: str) -> ExperimentConfig:
    return load_config([*SETTINGS, f"data.path={files}", *overrides])


@pytest.fixture(scope="module")
def job(
    files: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[ExperimentConfig, Path, Federation]:
    settings, folder = config(files), tmp_path_factory.mktemp("findings") / "run"
    federation = starting.start_job(settings, folder, ["secure-fl", "run"])
    grid.run_job(settings, federation, folder, Silent())
    assert grid.failures(folder) == []
    return settings, folder, federation


Job = tuple[ExperimentConfig, Path, Federation]


def test_fourteen_labels_are_learnt_and_the_audit_finds_nothing(job: Job, files: Path) -> None:
    _, folder, federation = job
    assert federation.data.classes == 14
    assert len(federation.data.test) == 80
    rows = {(row["defence"], row["attack"]): row for row in load_run(folder).rows}
    assert rows["paper", "none"]["auc"] > 0.85
    assert rows["paper", "sign_flip"]["attack_success_raw"] > 0
    assert who_holds_what(load_run(folder)) is not None
    report = audit_run(folder, data=files, processes=1)
    assert report.findings == []
    assert [each.what for each in report.unchecked] == ["pages and figures"]  # none were drawn
    assert report.measured is not None
    assert report.measured.skipped == []


def test_its_figures_are_scikit_learns(job: Job) -> None:
    _, folder, federation = job
    row = next(r for r in load_run(folder).rows if r["cell"] == "paper--none")
    model = read_model(folder / "cells" / "paper--none" / "models" / "final.npy")
    test, root = federation.data.test, federation.data.root
    logits = federation.logits(model, test.x).double().numpy()
    assert row["auc"] == pytest.approx(sk.roc_auc_score(test.y, logits, average="macro"))
    judge = Judge(federation, AttackConfig().build())
    named = judge.predictions(model)
    for key, score in (("f1", sk.f1_score), ("recall", sk.recall_score)):
        assert row[key] == pytest.approx(score(test.y, named, average="macro", zero_division=0))
    assert row["accuracy"] == pytest.approx(1 - sk.hamming_loss(test.y, named))
    likely = sk.recall_score(test.y, logits > 0, average="macro", zero_division=0)
    assert row["recall_at_even_odds"] == pytest.approx(likely)
    each = judge.by_class(model)
    assert each is not None
    assert list(each) == list(FINDINGS)
    assert each["Hernia"]["auc"] == pytest.approx(sk.roc_auc_score(test.y[:, -1], logits[:, -1]))
    # Each label is named on the root as often as it occurs there.
    on_root = judge.calibration(model).predict(federation.logits(model, root.x))
    assert np.abs(on_root.mean(axis=0) - root.y.double().mean(dim=0).numpy()).max() < 1e-9


def test_validators_measure_all_labels(job: Job) -> None:
    _, folder, federation = job
    model = read_model(folder / "cells" / "paper--none" / "models" / "final.npy")
    for verdict, rows in zip(validate(federation, model), federation.data.validators, strict=True):
        logits = federation.logits(model, rows.x)
        named, y = (logits > 0).long().numpy(), rows.y.numpy()
        loss = torch.nn.BCEWithLogitsLoss()(logits.double(), rows.y.double())
        assert verdict.accuracy == pytest.approx(1 - sk.hamming_loss(y, named))
        assert verdict.loss == pytest.approx(float(loss))
        f1 = sk.f1_score(y, named, average="macro", zero_division=0)
        assert verdict.f1 == pytest.approx(f1)


def test_what_asks_for_one_class_is_refused_by_name(job: Job, files: Path) -> None:
    several = "several labels a row"
    for attack, label, words in (
        ("backdoor", "null", r"attack Backdoor\(.* need attack.target_label, one of Atelectasis, "),
        ("label_flip_all", "null", "need attack.target_label"),
        (
            "backdoor",
            "Herni",
            r"attack.target_label must be one of .*'Herni' \(did you mean Hernia",
        ),
        ("edge_case", "Hernia", r"attack EdgeCase\(.* adds rows or leaves some out"),
        ("a3fl", "Hernia", rf"attack A3fl\(.* reads the network .* {several}"),
    ):
        with pytest.raises(ConfigError, match=words):
            starting.check_job(
                config(files, f"attack={attack}", f"attack.target_label={label}"), job[2]
            )
    with pytest.raises(ConfigError, match=r"target_class must be from 0 to 1"):
        starting.check_job(
            config(
                files,
                *("attack=backdoor", "attack.target_label=Hernia", "attack.params.target_class=2"),
            ),
            job[2],
        )
    with pytest.raises(
        ConfigError, match=r"attack.target_label must be null for data of one class"
    ):
        secure_fl.run(["data=digits", "attack=label_flip", "attack.target_label=3", "rounds=1"])
    with pytest.raises(ConfigError, match=rf"defence '\w+' has validation: gate.* {several}"):
        starting.check_job(config(files, "defences=[guarded]"), job[2])
    with pytest.raises(ConfigError, match=rf"data.balance must be false .* {several}"):
        prepare(config(files, "data.balance=true"))
    with pytest.raises(InputError, match="data must be of one class a row"):
        next(leaks(job[2], Plan(TrainOptions(), 1), []))
    with pytest.raises(ConfigError, match=r"data.test_fraction must be left out with data.split"):
        config(files, "data.test_fraction=0.3")
    with pytest.raises(ConfigError, match=r"data.split must be null or official; got 'other'"):
        config(files, "data.split=other")
    with pytest.raises(InputError, match=r"data.task with data.name digits must be left out"):
        prepare(load_config(["data=digits", "data.task=findings"]))
    with pytest.raises(ConfigError, match=r"test rows must have some with .* none have it"):
        prepare(
            config(
                files, "data.rows=30", "data.minimum_rows=1", "data.validators=1", "ledger.quorum=1"
            )
        )


@pytest.mark.parametrize(
    "attack", ["label_flip", "label_flip_all", "backdoor", "dba", "sybil", "model_replacement"]
)
def test_an_attack_on_one_label_changes_that_label_alone(
    attack: str, job: Job, files: Path
) -> None:
    """Held to the same attack on the same rows with that label as their class."""
    federation, place = job[2], FINDINGS.index("Edema")
    settings = config(files, f"attack={attack}", "attack.target_label=Edema", "defence=fedavg")
    run = RunConfig(settings, settings.defences[0], settings.attacks[0], 0.34)
    context = make_context(run, federation)
    (seat,) = context.malicious
    clean, made = federation.data.hospitals[seat], context.splits[seat]
    view = AttackView(
        round=0,
        num_hospitals=3,
        num_malicious=1,
        rng=seeds.torch_generator(settings.seed, "poison", seat),
        clip_norm=settings.privacy.clip_norm,
        classes=2,
        members=(seat,),
        rows=((clean.x, clean.y[:, place]),),
    )
    x, y = load(attack).poison(clean.x, clean.y[:, place], view)
    assert torch.equal(made.x, x)
    assert torch.equal(made.y[:, place], y)
    assert not torch.equal(y, clean.y[:, place])
    others = [label for label in range(14) if label != place]
    assert torch.equal(made.y[:, others], clean.y[:, others])


def test_success_is_measured_on_the_label_and_the_audit_measures_it_again(
    files: Path, tmp_path: Path
) -> None:
    flip, door = "{name: label_flip, target_label: Edema}", "{name: backdoor, target_label: Mass}"
    quick = ("defences=[fedavg]", "rounds=1", "train.epochs=2")
    settings = config(files, f"attacks=[{flip}, {door}]", *quick)
    folder = tmp_path / "run"
    federation = starting.start_job(settings, folder, ["secure-fl", "run"])
    grid.run_job(settings, federation, folder, Silent())
    assert grid.failures(folder) == []
    test, judge = federation.data.test, Judge(federation, Attack())
    for name, label, truth, answer in (("label_flip", "Edema", 1, 0), ("backdoor", "Mass", 0, 1)):
        x = test.x if name == "label_flip" else load("backdoor").trigger(test.x)
        (row,) = (each for each in load_run(folder).rows if each["attack"] == name)
        column = FINDINGS.index(label)
        for key, cell in (("raw", name), ("base", "none")):
            model = read_model(folder / "cells" / f"fedavg--{cell}" / "models" / "final.npy")
            named = judge.calibration(model).predict(federation.logits(model, x))[:, column]
            share = np.mean(named[test.y[:, column].numpy() == truth] == answer)
            assert row[f"attack_success_{key}"] == pytest.approx(share)
    report = audit_run(folder, data=files, processes=1)
    assert report.findings == []
    assert [each.what for each in report.unchecked] == ["pages and figures"]


def test_the_official_split_decides_who_tests(files: Path) -> None:
    loaded = data.load("chestxray14", files, task="findings", split="official")
    assert loaded.test is not None
    assert set(loaded.group[loaded.test]) == set(range(1, 41))
    for seed in (0, 1):
        rows = split_rows(
            *(loaded.y, loaded.group, 3, 0.3, 0.2, 0.1, 2, seed),
            minimum_rows=16,
            tested=loaded.test,
        )
        assert np.array_equal(rows.test, np.flatnonzero(loaded.test))
        parts = [*rows.hospitals, rows.root, rows.holdout, rows.test]
        assert sorted(np.concatenate(parts)) == list(range(len(loaded.y)))
        owners = [set(loaded.group[part]) for part in parts]
        assert sum(map(len, owners)) == len(set().union(*owners))
        # A tenth of all rows is reached, by patients of two.
        assert len(rows.root) + len(rows.holdout) in (24, 26)
    torn = loaded.test.copy()
    torn[0] = False
    with pytest.raises(InputError, match="all of a patient's rows or none; got 'some of patient"):
        split_rows(loaded.y, loaded.group, 3, 0.3, 0.2, 0.1, 2, 0, tested=torn)


def test_a_rows_class_is_its_rarest_label() -> None:
    y = np.array([[1, 1, 0], [1, 0, 0], [0, 0, 0], [1, 1, 1], [1, 0, 1]])
    assert strata(y).tolist() == [2, 1, 0, 2, 3]
    assert strata(np.array([4, 0])).tolist() == [4, 0]


def test_quality_needs_answers_of_both_kinds() -> None:
    logits = np.random.default_rng(0).normal(size=(6, 2))
    y = np.array([[0, 1], [1, 0]] * 3)
    thresholds = calibrate_labels(logits, y)
    assert label_quality(y, logits, thresholds).accuracy <= 1
    with pytest.raises(InputError, match="both classes 0 and 1"):
        label_quality(np.ones_like(y), logits, thresholds)
    with pytest.raises(InputError, match=r"y must be of shape \(6, 2\)"):
        calibrate_labels(logits, y[:, 0])
    with pytest.raises(InputError, match="y must be 0 and 1"):
        calibrate_labels(logits, y + 1)
