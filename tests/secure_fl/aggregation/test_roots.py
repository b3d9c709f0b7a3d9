"""Roots of integers, against Python's exact ones."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from secure_fl.aggregation.worlds.roots import public_root


@given(st.integers(1, 2**62 - 1))
def test_a_public_root_is_the_root(squared: int) -> None:
    found = public_root(squared)
    root = found.grow * found.root / 2**30
    assert found.grow.bit_count() == 1
    assert math.isclose(root, math.sqrt(squared), rel_tol=2**-22)


def test_the_root_of_nothing_is_nothing() -> None:
    assert public_root(0).grow * public_root(0).root == 0
