"""A cell's privacy budget from its rounds: who sent, who counted, whose noise lay on it."""

from __future__ import annotations

from typing import Any

import pytest

from eval.jobs.budget import budgets
from secure_fl.hospital.privacy import DELTA, epsilon
from secure_fl.settings.config import named_defence
from secure_fl.settings.schema import PrivacyConfig

NOISY = PrivacyConfig(clip_norm=1.0, noise_sigma=4.0)


def row(accepted: list[bool | None], samples: list[float], **more: Any) -> dict[str, Any]:
    return {"accepted": accepted, "samples": samples, "unopened": [], "refused": {}} | more


ROWS = [
    row([True, True, True, True], [1.0, 2.0, 3.0, 4.0]),
    row([True, True, None, None], [1.0, 2.0, 0.0, 0.0], unopened=[2], refused={"2": "late"}),
]


def spent(*noises: float) -> float:
    return epsilon(1.0, 4.0, noises, DELTA)


def test_by_hospital_counts_what_was_sent_and_means_what_counted() -> None:
    """Hospital 3 is malicious: it adds no noise. 0 has the least weight, so most lies on it."""
    found = budgets(named_defence("fedavg"), NOISY, ROWS, [3])
    assert found["epsilon_by_hospital"] == [spent(1, 1), spent(1, 1), spent(1, 1), spent(1)]
    assert found["epsilon"] == spent(1, 1)
    by_seat = [
        spent((1 + 4 + 9) / 1, (1 + 4) / 1),
        spent((1 + 4 + 9) / 4, (1 + 4) / 4),
        spent((1 + 4 + 9) / 9),
    ]
    assert found["epsilon_aggregate"] == pytest.approx(max(by_seat))
    uniform = budgets(named_defence("mean"), NOISY, ROWS, [3])
    assert uniform["epsilon_aggregate"] == pytest.approx(spent(3, 2))


def test_colluders_tell_their_noise() -> None:
    """Two may pool what they know, one of them the malicious one: one more noise is known."""
    defence = named_defence("mean")
    defence.colluders = 2
    found = budgets(defence, NOISY, ROWS, [3])
    assert found["epsilon_aggregate"] == pytest.approx(spent(2, 1))
    defence.colluders = 99
    assert budgets(defence, NOISY, ROWS, [3])["epsilon_aggregate"] == pytest.approx(spent(1, 1))


def test_only_means_have_a_budget_of_their_own() -> None:
    for name in ("median", "robust", "guarded", "weighted_mean", "norm_clipping"):
        assert budgets(named_defence(name), NOISY, ROWS, [])["epsilon_aggregate"] is None, name
    silent = budgets(named_defence("fedavg"), PrivacyConfig(), ROWS, [])
    assert silent == {"epsilon": None, "epsilon_by_hospital": [], "epsilon_aggregate": None}
    assert budgets(named_defence("fedavg"), NOISY, [], [])["epsilon"] == 0
