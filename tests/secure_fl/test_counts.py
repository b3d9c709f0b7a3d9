"""Shares of counts: the number that a share stands for, not what its product rounds to."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

import secure_fl
from secure_fl.counts import share_count, trim_count
from secure_fl.errors import InputError
from secure_fl.settings.schema import malicious_count


@pytest.mark.parametrize(
    ("share", "count", "wanted"),
    [(0.29, 100, 29), (1 / 49, 49, 1), (15 / 44, 44, 15), (0.1 + 0.2, 10, 3), (1 - 0.9, 10, 1)],
)
def test_a_share_is_the_number_that_was_meant(share: float, count: int, wanted: int) -> None:
    assert share_count(share, count) == wanted
    assert trim_count(share, count) == wanted
    assert malicious_count(share, count) == wanted


def test_every_quotient_and_every_thousandth_up_to_five_hundred() -> None:
    for count in range(1, 501):
        assert [share_count(k / count, count) for k in range(count + 1)] == [*range(count + 1)]
    for count in (7, 20, 49, 100, 250, 500):
        found = [share_count(k / 1000, count) for k in range(1001)]
        assert found == [k * count // 1000 for k in range(1001)]


@given(share=st.floats(0, 1), count=st.integers(0, 10**9))
def test_it_is_the_floor_but_for_what_rounding_can_do(share: float, count: int) -> None:
    exact = Fraction(share) * count
    found = share_count(share, count)
    assert found <= exact * (1 + Fraction(1, 2**39))
    assert found > exact - 1


def test_something_remains_however_near_to_half() -> None:
    beta = float(np.nextafter(0.5, 0))
    assert [trim_count(beta, rows) for rows in (1, 2, 3, 4, 500)] == [0, 0, 1, 1, 249]
    x = torch.tensor([[1.0], [3.0]])
    for backend in ("plain", "fixed"):
        for stage in ("trimmed_mean", "mean_around_median"):
            rule = {"max_abs": 4.0, "stages": [{stage: {"beta": beta}}]}
            assert secure_fl.aggregate(x, rule, backend).update.tolist() == [2.0]


def test_rules_trim_as_many_as_is_said() -> None:
    """Squares, so that each number of trimmed values has a mean of its own."""
    for beta, n, trim in ((0.29, 100, 29), (1 / 49, 49, 1), (15 / 44, 44, 15)):
        x = torch.arange(n, dtype=torch.float64)[:, None].square() / 100
        wanted = x[trim : n - trim].mean().item()
        for backend in ("plain", "fixed"):
            rule = secure_fl.build_rule("trimmed_mean", beta=beta)
            found = secure_fl.aggregate(x, rule, backend).update.item()
            assert found == pytest.approx(wanted, abs=2**-16)


@pytest.mark.parametrize(
    ("share", "count", "named"), [(-0.1, 3, "share"), (1.1, 3, "share"), (0.1, -1, "count")]
)
def test_other_arguments_are_refused(share: float, count: int, named: str) -> None:
    with pytest.raises(InputError, match=f"^{named} must be"):
        share_count(share, count)
