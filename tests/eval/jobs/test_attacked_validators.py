"""Validators on the attacker's side: public rows poisoned, measurements falsified, and audited."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

from eval.audit.run import audit_run
from eval.results.records import read_object
from secure_fl.files import read_lines
from secure_fl.server.validation import medians
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.attacked_validators import with_public_rows
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.round import judge
from secure_fl.simulation.run import RunConfig, make_attackers, make_context
from tests.support import tiny_job

SETTINGS = (
    "attacks=[{name: root_poisoning, params: {validators: 3}}, "
    "{name: lying_validator, params: {validators: 2}}]",
    "defences=[guarded]",
)


@pytest.fixture(scope="module")
def played(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_job.run(tmp_path_factory.mktemp("job") / "run", SETTINGS)


def of(attack: str, **params: Any) -> tuple[ExperimentConfig, RunConfig]:
    config = tiny_job.config()
    return config, RunConfig(config, config.defences[1], AttackConfig(attack, params), 0.25)


def test_one_of_three_validators_poisons_a_third_of_the_public_rows() -> None:
    config, run = of("root_poisoning")
    clean = prepare(config)
    seen = with_public_rows(clean, make_attackers(run))
    for before, after in (
        (clean.data.root, seen.data.root),
        (clean.data.holdout, seen.data.holdout),
    ):
        marked = (after.x[:, [-6, -5, -4]] == 1).all(dim=1)
        marked &= (before.x != after.x).any(dim=1) | (after.y == 1)
        changed = (before.x != after.x).any(dim=1) | (before.y != after.y)
        assert changed.sum() <= round(len(before) / 3) <= marked.sum() + 1
        assert torch.equal(before.x[~changed], after.x[~changed])
        assert (after.y[changed] == 1).all()
    assert with_public_rows(clean, make_attackers(RunConfig(config, run.defence, run.attack))) is (
        clean
    )


def test_a_minority_of_liars_moves_no_median_past_honest_figures() -> None:
    config, run = of("lying_validator", validators=1, kind="praise")
    federation = prepare(config)
    honest = judge(
        make_context(RunConfig(config, run.defence, run.attack), federation), federation.initial, 1
    )
    said = judge(make_context(run, federation), federation.initial, 1)
    assert said[0] == (1.0, 0.0, 1.0)
    assert said[1:] == honest[1:]
    for found, each in zip(medians(said), zip(*honest[1:], strict=True), strict=True):
        assert min(each) <= found <= max(each)
    run.attack.params["validators"] = 2
    assert medians(judge(make_context(run, federation), federation.initial, 1)) == (1.0, 0.0, 1.0)


def test_liars_keep_to_the_schedule() -> None:
    config, run = of("lying_validator", validators=1)
    run.attack.schedule.start, run.attack.schedule.every = 2, 2
    federation = prepare(config)
    context = make_context(run, federation)
    false = [judge(context, federation.initial, number)[0].loss == 100.0 for number in range(5)]
    assert false == [False, False, True, False, True]


def test_a_majority_of_liars_blinds_the_contract(played: Path) -> None:
    rows = read_lines(played / "cells" / "guarded--lying_validator" / "rounds.jsonl")
    assert all(row["accuracy"] == 0.0 for row in rows)
    assert all(row["loss"] == 100.0 for row in rows)
    assert [row["status"] for row in rows] == ["initial", "accepted", "accepted"]


def test_a_poisoned_root_plants_the_backdoor_though_all_hospitals_are_honest(played: Path) -> None:
    found = {row["cell"]: row for row in read_object(played / "summary.json")["rows"]}
    assert found["guarded--root_poisoning"]["attack_success_excess"] > 0.3


def test_an_audit_that_knows_the_attack_finds_nothing_strange(played: Path) -> None:
    report = audit_run(played)
    assert report.findings == []
    assert report.measured is not None
    assert report.measured.largest_gap == 0.0
