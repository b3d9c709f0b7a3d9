"""The plain backend against slow loops in NumPy, for every shipped rule."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import secure_fl
from secure_fl.aggregation import build_rule, rule_names
from tests.support.found import fitting
from tests.support.oracles import KINDS, ORACLES, Guarded, case, surrounded

SIZES = (*range(1, 22),)
ELSEWHERE = {"sign_majority", "crfl"}  # a step, and noise, not what the hospital sent


def compare(name: str, x: np.ndarray, reputation: np.ndarray, root: np.ndarray) -> None:
    expected = ORACLES[name](x, reputation, root)
    result = secure_fl.aggregate(x, name, **surrounded(reputation, root))
    np.testing.assert_array_equal(result.accepted.numpy(), expected.accepted)
    error = expected.error
    np.testing.assert_allclose(result.update.numpy(), expected.update, rtol=1e-9, atol=error)
    for flag, values in expected.flags.items():
        np.testing.assert_array_equal(result.values[flag].numpy(), values)


def test_every_rule_has_an_oracle() -> None:
    assert set(ORACLES) == set(rule_names())


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_rule_equals_its_oracle(name: str) -> None:
    """All numbers of hospitals, all kinds of input; what hangs by a hair is left out, rarely."""
    compared, sizes = 0, SIZES[: fitting(build_rule(name), len(SIZES))]
    for n in sizes:
        for kind in KINDS:
            for d in (1, 7):
                x, reputation, root = case(kind, n, d)
                if ORACLES[name](x, reputation, root).margin > 1e-9:
                    compare(name, x, reputation, root)
                    compared += 1
    assert compared >= 0.4 * len(sizes) * len(KINDS) * 2


@pytest.mark.parametrize("name", sorted(ORACLES))
@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_rule_equals_its_oracle_on_found_cases(name: str, data: st.DataObject) -> None:
    n, d = data.draw(st.integers(1, fitting(build_rule(name), 21))), data.draw(st.integers(1, 5))
    whole = arrays.arrays(np.int64, (n, d), elements=st.integers(-127, 127))
    x = data.draw(whole) / 64.0
    root = data.draw(arrays.arrays(np.int64, (d,), elements=st.integers(-9, 9))) / 8.0
    reputation = data.draw(arrays.arrays(np.int64, (n,), elements=st.integers(0, 8))) / 8.0
    assume(ORACLES[name](x, reputation, root).margin > 1e-9)
    compare(name, x, reputation, root)


@pytest.mark.parametrize("screen", [{}, {"spared": -0.15}])
def test_guarded_keeps_its_history_over_rounds(screen: dict[str, float]) -> None:
    """Five rounds in which hospitals stay away and come late; totals persist.

    Hospital 2 is against the crowd from the first round on; hospital 3 goes across, which is struck
    unless it is spared.
    """
    n, d = 7, 12
    rng = np.random.default_rng(5)
    oracle = Guarded(n, d)
    session = secure_fl.open_backend("plain").session(build_rule("guarded", **screen), n, d)
    attendance = ["1110111", "1111110", "0110111", "1111111", "1011101"]
    rejected, across = 0, []
    for flags in attendance:
        present = [flag == "1" for flag in flags]
        drift = 0.1 * rng.standard_normal(d)
        x = drift + 0.05 * rng.standard_normal((n, d))
        x[2] *= -1
        reputation, root = rng.uniform(0.2, 1, n), drift + 0.02 * rng.standard_normal(d)
        x[3] -= root * (x[3] @ root) / (root @ root)
        rows = {h: x[h] for h in range(n) if present[h]}
        expected = oracle.round(rows, reputation, root, **screen)
        assert expected.margin > 1e-9
        submission = session.submit(x, present)
        result = session.aggregate(submission, reputation, root)
        np.testing.assert_array_equal(result.accepted.numpy(), expected.accepted)
        np.testing.assert_allclose(result.update.numpy(), expected.update, rtol=1e-9)
        for flag, values in expected.flags.items():
            np.testing.assert_array_equal(result.values[flag].numpy(), values)
        rejected += int(present[2] and not result.accepted[2])
        across.append(present[3] and not result.accepted[3])
    assert rejected == 5
    assert any(across) == (not screen)


@pytest.mark.parametrize("beta", [0.0, 0.05, 0.1, 0.15, 0.29, 0.3, 0.4, 0.45, 0.499])
def test_trimming_drops_the_floor_of_the_share(beta: float) -> None:
    """0.29 * 100 is below 29 in binary; the share meant is 29."""
    for n in (1, 2, 3, 10, 19, 20, 21, 100):
        x = np.arange(n, dtype=float)[:, None] ** 2 / n**2
        trim = int(Fraction(str(beta)) * n)
        expected = x[trim : n - trim].mean()
        result = secure_fl.aggregate(x, build_rule("trimmed_mean", beta=beta))
        np.testing.assert_allclose(float(result.update[0]), expected, rtol=1e-12)


def test_one_hospital_is_its_own_aggregate() -> None:
    x = torch.tensor([[0.25, -0.5, 0.125]], dtype=torch.float64)
    for name in sorted(set(rule_names()) - ELSEWHERE):
        result = secure_fl.aggregate(x, name, **surrounded(None, x[0]))
        torch.testing.assert_close(result.update, x[0], rtol=0, atol=1e-12)
        assert result.accepted.tolist() == [True]


def test_a_rejected_crowd_leaves_the_zero_update() -> None:
    x = np.full((3, 4), 0.5)
    result = secure_fl.aggregate(x, "cosine_root", reference=-x[0])
    assert result.accepted.tolist() == [False] * 3
    assert result.update.tolist() == [0.0] * 4
    assert [opening.name for opening in result.opened] == ["accepted", "update"]
