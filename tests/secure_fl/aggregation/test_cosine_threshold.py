"""Cosines compared with a threshold: against exact fractions of the very integers."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.aggregation.worlds.constants import unit_direction

THRESHOLDS = (-1.0, -0.7, -1e-3, 0.0, 1e-3, 0.3, 0.999, 1.0)
# What `cosine_at_least` promises where the threshold is not 0.
LOWERED, ERROR = Fraction(1, 2**24), Fraction(1, 2**25)
EDGE = 2**17 - 1


def signed_square(dot: int, squares: int) -> Fraction:
    """cos |cos|, which grows with the cosine; 0 for zero vectors."""
    return Fraction(dot * abs(dot), squares) if squares else Fraction(0)


def sides(dot: int, squares: int, threshold: float) -> set[bool]:
    """The answers that may be given: one, unless the cosine is at the (lowered) threshold."""
    if threshold == 0:
        return {dot >= 0}
    value = signed_square(dot, squares)

    def reaches(limit: Fraction) -> bool:
        return value >= limit * abs(limit) and not (threshold > 0 and value <= 0)

    exact = Fraction(threshold) - LOWERED
    # The square of the threshold is rounded at 2^-33.
    slack = ERROR + Fraction(1, 2**33) / max(abs(exact), Fraction(1, 2**17))
    return {reaches(exact - slack), reaches(exact + slack)}


def accepted(
    name: str, v: np.ndarray, threshold: float, reference: np.ndarray | None
) -> list[bool]:
    rule = build_rule(name, threshold=threshold, max_abs=2.0)
    return secure_fl.aggregate(v / 2**16, rule, "fixed", reference=reference).accepted.tolist()


elements = st.one_of(st.integers(-EDGE, EDGE), st.sampled_from([-EDGE, -1, 0, 1, EDGE]))
rows = arrays.arrays(np.int64, st.tuples(st.integers(1, 9), st.integers(1, 6)), elements=elements)


@settings(max_examples=300, deadline=None)
@given(v=rows, threshold=st.sampled_from(THRESHOLDS), data=st.data())
def test_public_direction(v: np.ndarray, threshold: float, data: st.DataObject) -> None:
    g = data.draw(arrays.arrays(np.float64, v.shape[1], elements=st.integers(-9, 9).map(float)))
    direction = unit_direction(torch.from_numpy(g)).tolist()
    squares = sum(c * c for c in direction)
    for row, got in zip(v.tolist(), accepted("cosine_root", v, threshold, g), strict=True):
        dot = sum(a * b for a, b in zip(row, direction, strict=True))
        assert got in sides(dot, sum(a * a for a in row) * squares, threshold)


@settings(max_examples=300, deadline=None)
@given(v=rows, threshold=st.sampled_from(THRESHOLDS))
def test_secret_median(v: np.ndarray, threshold: float) -> None:
    ordered = np.sort(v, axis=0)
    m = len(v)
    middle = (ordered[(m - 1) // 2] + ordered[m // 2]).tolist()  # twice the median
    squares = sum(c * c for c in middle)
    for row, got in zip(v.tolist(), accepted("cosine_median", v, threshold, None), strict=True):
        dot = sum(a * b for a, b in zip(row, middle, strict=True))
        assert got in sides(dot, sum(a * a for a in row) * squares, threshold)


@pytest.mark.parametrize("name", ["cosine_root", "cosine_median"])
def test_the_ends_of_the_scale(name: str) -> None:
    """Equal directions of any length reach 1; opposite ones reach -1 and nothing above."""
    direction = np.array([3, -1, 2, 0, 5])
    lengths = np.array([1, 7, 100, 9999, EDGE // 5])
    v = np.concatenate([lengths[:, None] * direction, -direction[None], 0 * direction[None]])
    g = direction.astype(float)
    assert accepted(name, v, 1.0, g) == [True] * 5 + [False, False]
    assert accepted(name, v, -1.0, g) == [True] * 7
    assert accepted(name, v, -0.99, g) == [True] * 5 + [False, True]
    assert accepted(name, v, 0.0, g) == [True] * 5 + [False, True]


def test_near_the_end_of_the_range() -> None:
    """Norms just below 2^61: neither the products nor their squares wrap."""
    d = 2**61 // 4**23  # 24-bit values: 2^23 each, squares 2^46, 2^15 of them
    v = np.full((3, d), 128 - 2.0**-16)
    v[1] = -v[1]
    v[2, ::2] = -v[2, ::2]
    for threshold, expected in ((0.9, [1, 0, 0]), (0.0, [1, 0, 1]), (-0.9, [1, 0, 1])):
        rule = build_rule("cosine_root", threshold=threshold, max_abs=127.0)
        found = secure_fl.aggregate(v, rule, "fixed", reference=np.ones(d)).accepted
        assert found.int().tolist() == expected
