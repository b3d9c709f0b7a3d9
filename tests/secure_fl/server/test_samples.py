"""Weights by numbers of rows: FedAvg as published, and how a hospital that lies is held."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.errors import ConfigError, InputError
from secure_fl.server.samples import LARGEST_CLAIM, bounded
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config, load_defence
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.round import counted
from secure_fl.simulation.run import RunConfig, make_context
from secure_fl.simulation.single import run_settings as run
from tests.support import tiny_job

FEDAVG = build_rule({"stages": [{"weighted_mean": {"by": "samples"}}]})
X = torch.tensor([[1.0, -2.0], [2.0, 4.0], [0.5, 0.25]], dtype=torch.float64)


@pytest.mark.parametrize("scale", [1, 1e-9, 1e9])
@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_updates_weigh_by_rows_whatever_the_scale(backend: str, scale: float) -> None:
    counts = [10.0, 90.0, 300.0]
    result = secure_fl.aggregate(X, FEDAVG, backend, samples=[c * scale for c in counts])
    expected = np.average(X.numpy(), axis=0, weights=counts)
    np.testing.assert_allclose(
        result.update.numpy(), expected, atol=1e-12 + (backend == "fixed") / 2**14
    )


def test_counts_of_hospitals_that_are_rejected_do_not_count() -> None:
    screen = {"cosine_screen": {"reference": "root", "threshold": 0.0}}
    rule = {"max_abs": 8.0, "stages": [screen, {"weighted_mean": {"by": "samples"}}]}
    root = torch.tensor([1.0, 1.0])
    result = secure_fl.aggregate(X, rule, samples=[900, 10, 30], reference=root)
    assert result.accepted.tolist() == [False, True, True]
    np.testing.assert_allclose(result.update.numpy(), (10 * X[1] + 30 * X[2]).numpy() / 40)


def test_without_counts_or_with_zeros_all_weigh_the_same() -> None:
    for samples in (None, [0, 0, 0]):
        result = secure_fl.aggregate(X, FEDAVG, samples=samples)
        np.testing.assert_allclose(result.update.numpy(), X.mean(0).numpy())


@pytest.mark.parametrize(
    "samples", [[1, 2], [1, 2, -1], [1, 2, float("nan")], [1, 2, float("inf")], [[1, 2, 3]]]
)
def test_impossible_counts_are_refused(samples: list[float]) -> None:
    with pytest.raises(InputError, match="samples"):
        secure_fl.aggregate(X, FEDAVG, samples=samples)


@pytest.mark.parametrize("rule", ["mean", "weighted_mean", "median"])
def test_counts_are_never_ignored_in_silence(rule: str) -> None:
    with pytest.raises(InputError, match="samples must be left out for a rule without"):
        secure_fl.aggregate(X, rule, samples=[1, 2, 3])
    with pytest.raises(InputError, match=r"reputation must be in \[0, 1\] .* by samples"):
        secure_fl.aggregate(X, rule, reputation=[10, 90, 1])


# --- the bound


@pytest.mark.parametrize("cap", [1.0, 1.5, 2.0, 3.0, 10.0])
def test_no_claim_is_worth_more_than_its_cap_and_none_is_cut_for_less(cap: float) -> None:
    for claims in product([0, 1, 7, 100, LARGEST_CLAIM], repeat=4):
        counts = bounded(claims, cap)
        total = sum(counts)
        assert max(counts) <= cap * total / 4 * (1 + 1e-9)
        assert all(count <= claim for count, claim in zip(counts, claims, strict=True))
        cut = [c for c, claim in zip(counts, claims, strict=True) if c < claim]
        # Those cut are all at the bound itself: a higher one would not hold.
        assert all(c == pytest.approx(cap * total / 4) for c in cut)
        assert total > 0 or sum(claim > 0 for claim in claims) == 0 or cap < 4


def test_honest_claims_within_the_cap_are_left_alone() -> None:
    assert bounded([10, 20, 30, 40], 2.0) == [10.0, 20.0, 30.0, 40.0]
    assert bounded([10, 90], 2.0) == [10.0, 90.0]
    assert bounded([100, 100, 100, 900], 2.0) == [100.0, 100.0, 100.0, 300.0]
    assert bounded([5, 9, 7], 1.0) == [5.0, 5.0, 5.0]
    assert bounded([], 2.0) == []


def test_liars_hold_no_more_than_the_stated_share() -> None:
    honest, liars = [32, 32, 89, 129, 164, 174, 266, 341, 343, 545, 625, 659, 999, 1000], 6
    counts = bounded([*honest, *[LARGEST_CLAIM] * liars], 2.0)
    assert sum(counts[-liars:]) / sum(counts) == pytest.approx(2 * liars / 20)
    assert counts[:-liars] == honest


# --- in a run


def test_the_defence_fedavg_weighs_by_rows_before_balancing() -> None:
    config = tiny_job.config("defences=[fedavg]")
    federation = prepare(config)
    settings = config.data
    assert federation.rows != tuple(len(split) for split in federation.data.hospitals)
    assert sum(federation.rows) < settings.rows
    setting = make_context(RunConfig(config, config.defences[0], AttackConfig()), federation)
    assert counted(setting, [0, 1, 2, 3]) == bounded(federation.rows, 2.0)
    without = counted(setting, [0, 2])
    assert without == [float(federation.rows[0]), 0.0, float(federation.rows[2]), 0.0]


@pytest.mark.parametrize("name", ["fedavg", "secure_aggregation"])
def test_both_baselines_are_fedavg_as_published(name: str) -> None:
    rule = load_defence(name).build()
    assert rule.to_config()["stages"] == [{"weighted_mean": {"by": "samples"}}]


def test_a_liar_is_held_and_recorded() -> None:
    settings = [*tiny_job.SETTINGS, "defence=fedavg", "attack=sign_flip", "malicious=0.25"]
    told, lied = (run([*settings, f"attack.overstate={word}"]) for word in ("false", "true"))
    (liar,) = told.malicious
    for result in (told, lied):
        assert all(len(row["samples"]) == 4 for row in result.rows[1:])
    before, after = (np.array(result.rows[1]["samples"]) for result in (told, lied))
    honest = [i for i in range(4) if i != liar]
    assert after[liar] / after.sum() == pytest.approx(2 / 4)
    assert after[liar] > before[liar]
    np.testing.assert_array_equal(after[honest] >= before[honest], True)
    assert not torch.equal(told.model, lied.model)
    equal = run([*settings, "defence.samples_cap=1"])
    assert len(set(equal.rows[1]["samples"])) == 1
    assert run([*settings, "defence=robust"]).rows[1]["samples"] is None


@pytest.mark.parametrize("cap", ["0.5", "0", "nan", "inf"])
def test_impossible_caps_are_refused(cap: str) -> None:
    with pytest.raises(ConfigError, match="samples_cap must be at least 1"):
        load_config(["defence=fedavg", f"defence.samples_cap={cap}"])
