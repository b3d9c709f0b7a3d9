"""A trigger that is learned: by a literal loop, and in a run whose audit learns it again."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import attacks
import secure_fl
from attacks.memory import pack, unpack
from attacks.samples import sample_view
from eval.audit.records import read_cell
from eval.audit.run import audit_run
from eval.jobs.evaluate import Judge
from secure_fl.files import sha256
from secure_fl.simulation.folder import read_model, read_trigger, trigger_path
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job

CELL = "fedavg--a3fl"
SETTINGS = (
    "attacks=[{name: a3fl, params: {steps: 4, adapt_steps: 2}, schedule: {start: 2}}]",
    "defences=[fedavg]",
    "rounds=3",
    "malicious=0.5",
)


def softmax(scores: np.ndarray) -> np.ndarray:
    grown = np.exp(scores - scores.max(axis=1, keepdims=True))
    return grown / grown.sum(axis=1, keepdims=True)


def learned_by_hand(view, trigger, columns, steps, rate, adaptation, adapt_steps, adapt_rate):
    """The trigger after a round against logistic regression, written out; target class 1."""
    x, y = (torch.cat([rows[i] for rows in view.rows]).double().numpy() for i in (0, 1))
    x, y = x[y != 1], y[y != 1].astype(int)
    model, rng = view.global_model.double().numpy(), torch.Generator().manual_seed(8)
    size = len(model) - 2

    def errors(params, rows, labels):
        weight, bias = params[:size].reshape(-1, 2), params[size:]
        return (softmax(rows @ weight + bias) - np.eye(2)[labels]) / len(rows)

    for step in range(steps):
        drawn = torch.randint(len(y), (min(64, len(y)),), generator=rng).numpy()
        rows = x[drawn].copy()
        rows[:, columns] = trigger
        models = [(model, 1.0)]
        if step:
            other = model.copy()
            for _ in range(adapt_steps):
                error = errors(other, rows, y[drawn])
                other -= adapt_rate * np.concatenate([(rows.T @ error).ravel(), error.sum(0)])
            cosine = other @ model / np.linalg.norm(other) / np.linalg.norm(model)
            models.append((other, adaptation * cosine))
        slope = np.zeros(len(columns))
        for params, weight in models:
            error = errors(params, rows, np.ones(len(rows), dtype=int))
            slope += weight * (error @ params[:size].reshape(-1, 2).T).sum(0)[columns]
        trigger = np.clip(trigger - rate * np.sign(slope), 0, 1)
    return trigger


def test_the_trigger_is_learned_as_a_literal_loop_learns_it():
    options = {"steps": 6, "rate": 0.03, "adaptation": 3.0, "adapt_steps": 3, "adapt_rate": 2.0}
    attack = attacks.load("a3fl", {"columns": [0, 3, -1], **options})
    view = sample_view(5, 2, 30, attack=attack, rng=torch.Generator().manual_seed(8))
    view = replace(view, memory=attack.init(view))
    assert view.memory["trigger"].tolist() == [0.5] * 3
    found = attack.prepare(view)["trigger"].numpy()
    due = learned_by_hand(view, np.full(3, 0.5), [0, 3, -1], **options)
    np.testing.assert_allclose(found, due, atol=1e-6)
    alone = learned_by_hand(view, np.full(3, 0.5), [0, 3, -1], **options | {"adaptation": 0})
    assert not np.allclose(found, alone)  # the adapted model has a say


def test_rows_carry_the_trigger_of_the_round():
    attack = attacks.load("a3fl", {"columns": [0, 1], "fraction": 1.0})
    view = sample_view(5, 1, 30, attack=attack)
    view = replace(view, memory={"trigger": torch.tensor([0.25, 0.75])})
    x, y = torch.zeros(6, 14), torch.zeros(6, dtype=torch.int64)
    px, py = attack.poison(x, y, view)
    assert px[:, :3].tolist() == [[0.25, 0.75, 0.0]] * 6
    assert py.tolist() == [1] * 6
    assert torch.equal(attack.current_trigger(x, view.memory), px)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_job.run(tmp_path_factory.mktemp("job") / "run", SETTINGS)


def test_success_is_measured_with_the_trigger_of_the_round(played: Path) -> None:
    """The trigger is kept from the round on in which the attack first acts."""
    cell = read_cell(played / "cells" / CELL)
    assert ["trigger_sha256" in row for row in cell.rounds] == [False, False, True, True]
    memories = [read_trigger(cell.folder, number) for number in (2, 3)]
    assert not torch.equal(memories[0]["trigger"], memories[1]["trigger"])
    federation = prepare(tiny_job.config(*SETTINGS))
    attack = attacks.load("a3fl")
    clean = read_model(played / "cells" / "fedavg--none" / "models" / "final.npy")
    final = read_model(cell.folder / "models" / "final.npy")
    test = federation.data.test
    rows, judge = test.x.clone(), Judge(federation, attack)
    rows[:, [-6, -5, -4]] = memories[1]["trigger"]
    for model, name in ((final, "raw"), (clean, "base")):
        said = judge.calibration(model).predict(federation.logits(model, rows))
        share = float((said[(test.y != 1).numpy()] == 1).mean())
        assert cell.row[f"attack_success_{name}"] == pytest.approx(share)


def test_an_audit_learns_the_trigger_again(played: Path, tmp_path: Path) -> None:
    report = audit_run(played)
    assert [f for f in report.findings if "trigger" in f"{f}"] == []
    assert report.findings == []
    assert report.measured is not None
    assert report.measured.largest_gap == 0.0
    folder = tmp_path / "run"
    shutil.copytree(played, folder)
    path = trigger_path(folder / "cells" / CELL, 3)
    other = pack({"trigger": 1 - unpack(path.read_bytes())["trigger"]})
    before = sha256(path.read_bytes())
    path.write_bytes(other)
    faults = {f"{each.place}: {each.fault}" for each in audit_run(folder).findings}
    assert any(f"{CELL}/triggers/round-003.bin: is not the trigger" in each for each in faults)
    lines = folder / "cells" / CELL / "rounds.jsonl"
    lines.write_text(lines.read_text().replace(before, sha256(other)))
    faults = {f"{each.place}: {each.fault}" for each in audit_run(folder).findings}
    assert any("from what is learned again" in each for each in faults)


def test_a_sweep_and_a_run_in_python_measure_alike() -> None:
    federation = prepare(tiny_job.config(*SETTINGS))
    attack = attacks.load("a3fl", {"steps": 4, "adapt_steps": 2})
    choices = {"defence": "fedavg", "rounds": 2, "malicious": 0.5, "train": {"epochs": 1}}
    result = secure_fl.run(federation, attack=attack, **choices)
    assert result.memory is not None
    raw = Judge(federation, attack).raw(result.model, memory=result.memory)
    assert result.rows[-1]["attack_success"] == raw
    frame = secure_fl.sweep(
        federation,
        attacks=[attack],
        defences=["fedavg"],
        malicious=[0.5],
        seeds=[0],
        rounds=2,
        train={"epochs": 1},
    ).frame
    assert frame["attack_success_raw"].dropna().tolist() == [raw]
