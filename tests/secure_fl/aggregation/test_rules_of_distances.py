"""Rules of distances and directions beyond one round: absence, history, verdicts, refusals."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import Pipeline, build_rule, make_stage
from secure_fl.errors import InputError
from tests.support.literal_rules import directions, distances
from tests.support.literal_rules.resemblance import bounded, combined, norm, weights_of_fools_gold

D = 5
ROUNDS = ("1110111", "1111110", "0110111", "1111111")
every_clear = pytest.mark.parametrize("backend", ["plain", "fixed"])


def rows(seed: int, n: int = 7) -> np.ndarray:
    return np.round(np.random.default_rng(seed).normal(0, 0.3, (n, D)) * 2**16) / 2**16


@every_clear
@pytest.mark.parametrize("name", ["krum", "multi_krum", "bulyan", "monna", "cge", "mda", "dnc"])
def test_who_stays_away_is_not_counted(name: str, backend: str) -> None:
    session = secure_fl.open_backend(backend).session(build_rule(name), 7, D)
    for number, flags in enumerate(ROUNDS):
        x, present = rows(number), [flag == "1" for flag in flags]
        got = session.aggregate(session.submit(x, present))
        wanted = getattr(distances, name)(x[present], None, None)
        assert wanted.margin > 2.0**-10
        np.testing.assert_allclose(got.update, wanted.update, rtol=0, atol=2**-14)
        assert got.accepted.tolist() == present


@every_clear
def test_foolsgold_remembers_what_each_hospital_sent(backend: str) -> None:
    """Two clones lose their weight; who stays away keeps a history."""
    session = secure_fl.open_backend(backend).session(build_rule("foolsgold"), 7, D)
    history = np.zeros((7, D))
    for number, flags in enumerate(ROUNDS):
        x, present = rows(number), np.array([flag == "1" for flag in flags])
        x[4] = x[5]
        got = session.aggregate(session.submit(x, present.tolist()))
        clipped = np.array([bounded(row, 1.0) for row in x])
        history[present] += clipped[present]
        weights = weights_of_fools_gold(history[present])
        wanted = combined(clipped[present], weights)
        np.testing.assert_allclose(got.update, wanted.update, rtol=0, atol=2**-14)
    assert weights[4] == weights[5] == 0 < max(weights)


@every_clear
def test_lengths_are_bounded_by_the_median_of_the_window(backend: str) -> None:
    rule = build_rule("clipped_clustering", window=2)
    session = secure_fl.open_backend(backend).session(rule, 7, D)
    before: list[float] = []
    for number in range(3):
        x = rows(number) * (number + 1) + 0.2
        got = session.aggregate(session.submit(x))
        wanted = directions.clipped_clustering(x, None, None, before=before)
        assert got.accepted.tolist() == wanted.accepted.tolist()
        np.testing.assert_allclose(got.update, wanted.update, rtol=0, atol=2**-14)
        before = [norm(row) ** 2 for row in x]


@every_clear
@pytest.mark.parametrize("name", ["krum", "multi_krum", "monna", "cge", "mda", "dnc"])
def test_verdicts_are_who_was_averaged(name: str, backend: str) -> None:
    x = rows(9)
    result = secure_fl.aggregate(x, build_rule(name, verdicts=True), backend)
    assert [opening.name for opening in result.opened] == ["accepted", "update"]
    mean = torch.as_tensor(x)[result.accepted].mean(dim=0)
    torch.testing.assert_close(result.update, mean, rtol=0, atol=1e-9)
    silent = secure_fl.aggregate(x, build_rule(name), backend)
    torch.testing.assert_close(result.update, silent.update, rtol=0, atol=1e-9)
    assert silent.accepted.all()


@pytest.mark.parametrize(
    ("name", "f", "needs"), [("krum", 6, 15), ("bulyan", 3, 15), ("nnm", 6, 13), ("dnc", 6, 13)]
)
def test_more_malicious_than_a_rule_bears_are_refused_before_round_1(
    name: str, f: int, needs: int
) -> None:
    rule = build_rule(name, num_malicious=f)
    said = f"cannot bear num_malicious={f} of 12 hospitals: {name} needs at least {needs}"
    with pytest.raises(InputError, match=said):
        secure_fl.open_backend().session(rule, 12, D)


@every_clear
def test_a_minimum_of_three_keeps_krums_row_in_but_not_a_mixture(backend: str) -> None:
    mixed = Pipeline((make_stage("nnm", {}), make_stage("krum", {})), 2.0)
    results = []
    for rule in (build_rule("krum"), mixed):
        session = secure_fl.open_backend(backend, minimum_hospitals=3).session(rule, 7, D)
        results.append(session.aggregate(session.submit(rows(3))).update)
    assert not results[0].any()
    assert results[1].any()


@every_clear
def test_an_outlier_shows_in_some_columns_drawn_at_random(backend: str) -> None:
    x = np.random.default_rng(0).normal(0, 0.01, (9, 400))
    x[3] += 1.0
    rule = build_rule("dnc", num_malicious=1, columns=40, verdicts=True)
    result = secure_fl.aggregate(x, rule, backend)
    assert result.accepted.tolist() == [i != 3 for i in range(9)]


def test_a_history_is_of_hospitals_not_of_groups() -> None:
    rule = Pipeline((make_stage("bucketing", {"size": 2}), make_stage("foolsgold", {})), 2.0)
    with pytest.raises(InputError, match="rows must be one hospital's each for foolsgold"):
        secure_fl.aggregate(rows(0), rule)
