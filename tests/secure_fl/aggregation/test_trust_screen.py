"""The trust screen strikes who stands apart, not who was rounded."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import secure_fl
from secure_fl.aggregation.ops import SCORE_TOLERANCE

STEP = 2.0**-16
N, D = 5, 4
ROW = np.array([0.5, 0.25, -0.5, 0.125])
ROOT = np.array([0.4, 0.5, -0.3, 0.1])


def cosine(row: np.ndarray) -> float:
    return float(row @ ROOT / (np.linalg.norm(row) * np.linalg.norm(ROOT)))


def accepted(x: np.ndarray, backend: str) -> list[bool]:
    rule = secure_fl.build_rule("guarded")
    return secure_fl.aggregate(x, rule, backend, reference=ROOT).accepted.tolist()


@pytest.mark.parametrize("backend", ["plain", "fixed"])
@pytest.mark.parametrize("steps", [1, 2, 3])
@pytest.mark.parametrize("coordinate", range(D))
@pytest.mark.parametrize("sign", [1, -1])
def test_rounding_strikes_nobody(backend: str, steps: int, coordinate: int, sign: int) -> None:
    """Four hospitals agree to the bit, so that the MAD is 0; the fifth is off by steps of 2^-16."""
    x = np.tile(ROW, (N, 1))
    x[3, coordinate] += sign * steps * STEP
    assert accepted(x, backend) == [True] * N


@pytest.mark.parametrize("backend", ["plain", "fixed"])
@settings(max_examples=40, deadline=None)
@given(scale=st.floats(1.0, 3.0), who=st.integers(0, N - 1))
def test_length_alone_strikes_nobody(backend: str, scale: float, who: int) -> None:
    """A longer update of one direction is clipped, and each coordinate rounded."""
    x = np.tile(ROW, (N, 1))
    x[who] = np.round(x[who] * scale / STEP) * STEP
    assert accepted(x, backend) == [True] * N


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_the_tolerance_ends_where_it_says(backend: str) -> None:
    """Whoever is lower by more is struck, whoever is lower by less is not, and is not used."""
    away = ROW - cosine(ROW) * np.linalg.norm(ROW) * ROOT / np.linalg.norm(ROOT)  # lowers cosines
    for share, kept in ((0.25, True), (0.75, True), (1.25, False), (4.0, False)):
        lengths = np.linspace(0, 0.1, 4001)
        gaps = np.array([cosine(ROW) - cosine(ROW + t * away) for t in lengths])
        x = np.tile(ROW, (N, 1))
        x[2] += lengths[np.searchsorted(gaps, share * SCORE_TOLERANCE)] * away
        x[2] = np.round(x[2] / STEP) * STEP
        gap = cosine(ROW) - cosine(x[2])
        assert (gap < SCORE_TOLERANCE) == kept  # rounding did not move it across
        rule = secure_fl.build_rule("guarded")
        result = secure_fl.aggregate(x, rule, backend, reference=ROOT)
        assert result.accepted.tolist() == [True, True, kept, True, True]
        assert result.values["used"].tolist() == [True, True, False, True, True]


def test_the_tolerance_matters_only_beside_a_spread_of_nothing() -> None:
    """It is far below what honest hospitals differ by: it is no way in."""
    assert 4 * STEP == SCORE_TOLERANCE < 1e-4
    x = np.tile(ROW, (N, 1)) + 0.01 * np.random.default_rng(0).standard_normal((N, D))
    x[1] = -x[1]
    for backend in ("plain", "fixed"):
        assert accepted(x, backend) == [True, False, True, True, True]
