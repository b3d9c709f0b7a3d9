"""The oracle against values worked out by hand, and its bounds."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.protocol import reputation
from ledger.protocol.parameters import (
    MAX_LOSS,
    SCALE,
    Parameters,
    from_fixed,
    loss_to_fixed,
    to_fixed,
)
from ledger.protocol.reputation import Limits, Metrics, Rule, Standing

RULE = Rule(*Parameters().rule_words())
ONE = SCALE
units = st.integers(0, SCALE)


def test_growth_closes_a_tenth_of_the_gap() -> None:
    after = reputation.accepted(Standing(ONE // 2, streak=3), RULE)
    assert after == Standing(ONE * 55 // 100)


def test_rejections_in_a_row_cost_more_each_time() -> None:
    standing, seen = Standing(ONE), []
    for _ in range(6):
        standing = reputation.rejected(standing, RULE)
        seen.append(from_fixed(standing.reputation))
    # 1 * 0.5 * 0.4 * 0.3 * 0.2 * 0.1, and then nothing is kept.
    assert seen == pytest.approx([0.5, 0.2, 0.06, 0.012, 0.0012, 0.0], abs=1e-17)
    assert standing.suspended


def test_plain_halving_without_repetition() -> None:
    rule = Rule(*Parameters(repetition_step=0.0).rule_words())
    standing = Standing(ONE)
    for expected in (0.5, 0.25, 0.125):
        standing = reputation.rejected(standing, rule)
        assert from_fixed(standing.reputation) == expected
        assert standing.suspended == (expected < 0.2)


def test_exactly_the_floor_is_not_below_it() -> None:
    standing = reputation.rejected(Standing(ONE * 2 // 5), RULE)
    assert standing == Standing(ONE // 5, streak=1)
    assert reputation.rejected(Standing(ONE * 2 // 5 - 2), RULE).suspended


def test_abnormal_round_costs_a_tenth_and_keeps_the_streak() -> None:
    after = reputation.accepted_in_abnormal_round(Standing(ONE, streak=2), RULE)
    assert after == Standing(ONE * 9 // 10, streak=2)


def test_on_probation_the_first_rejection_suspends() -> None:
    standing = reputation.reinstated(dataclasses.replace(RULE, reinstated=ONE))
    assert (standing.probation, standing.suspended) == (5, False)
    assert reputation.rejected(standing, RULE).suspended
    for _ in range(5):
        standing = reputation.accepted(standing, RULE)
    assert standing.probation == 0
    assert not reputation.rejected(standing, RULE).suspended


@given(units, st.integers(0, 255), units, units, units, units)
def test_never_outside_zero_and_one(
    start: int, streak: int, growth: int, keep: int, step: int, abnormal: int
) -> None:
    rule = Rule(ONE, growth, keep, step, abnormal, 0, ONE, 3)
    standing = Standing(start, streak)
    grown = reputation.accepted(standing, rule).reputation
    assert start <= grown <= ONE
    for lowered in (
        reputation.rejected(standing, rule),
        reputation.accepted_in_abnormal_round(standing, rule),
    ):
        assert 0 <= lowered.reputation <= start


def test_medians_of_odd_and_even_numbers() -> None:
    three = [Metrics(3, 10, 1), Metrics(1, 30, 2), Metrics(2, 20, 9)]
    assert reputation.medians(three) == Metrics(2, 20, 2)
    assert reputation.medians([*three, Metrics(9, 25, 4)]) == Metrics(2, 22, 3)
    assert reputation.medians(three[:1]) == three[0]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        (Metrics(70, 60, 55), False),
        (Metrics(69, 60, 55), True),
        (Metrics(70, 61, 55), True),
        (Metrics(70, 60, 54), True),
        (Metrics(99, 0, 99), False),
    ],
)
def test_degradation_is_beyond_a_limit(now: Metrics, expected: bool) -> None:
    good, limits = Metrics(80, 50, 60), Limits(10, 10, 5, 1)
    assert reputation.degraded(now, good, limits) is expected
    assert not reputation.degraded(now, None, limits)


def test_fixed_point_is_exact_for_decimals() -> None:
    assert to_fixed(0.1) == 10**17
    assert to_fixed(1) == SCALE
    assert to_fixed(0.8200000000000001) == 820000000000000100
    assert loss_to_fixed(float("nan")) == loss_to_fixed(float("inf")) == MAX_LOSS
    assert loss_to_fixed(1e300) == MAX_LOSS
    with pytest.raises(ValueError, match=r"loss must be >= 0; got -0\.5"):
        loss_to_fixed(-0.5)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("growth", 1.5),
        ("floor", -0.1),
        ("rejection_keep", float("nan")),
        ("loss_rise", -1.0),
        ("quorum", 0),
        ("probation_rounds", -1),
        ("initial", 0.1),
        ("reinstated", 0.1),
    ],
)
def test_bad_parameters_are_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}|floor"):
        Parameters(**{name: value})  # type: ignore[arg-type]
