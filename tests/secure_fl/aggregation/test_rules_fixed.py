"""The fixed backend: exact integers where nothing is rounded, close to plain elsewhere."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.aggregation.worlds import fixed
from secure_fl.aggregation.worlds.fixedpoint import encode
from secure_fl.errors import InputError
from tests.support.found import fitting
from tests.support.oracles import KINDS, ORACLES, case, surrounded
from tests.support.reveal import reveal

UNIT = 2.0**-16
# Largest error of one coordinate of an update, in units. Clipping floors its factor (below 2 units
# on coordinates below 2) and the product (1); the inverse root's error is smaller still. Two
# clipped values can be averaged, and the exact oracle's rank may then be the neighbour's.
CLIPPING_UNITS = 4
# Flags may differ from floating point's only where a score is this close to its limit.
DECISIVE = 2.0**-10

integers = arrays.arrays(
    np.int64,
    st.tuples(st.integers(1, 21), st.integers(1, 5)),
    elements=st.integers(-(2**17), 2**17),
)


def whole(x: np.ndarray) -> list[list[int]]:
    """Updates as Python integers in units of 2^-16."""
    return [[int(v) for v in row] for row in np.rint(x * 2**16)]


def exactly(result: torch.Tensor, expected: list[Fraction]) -> None:
    """Float64 holds these values to the last bit but that of the division."""
    for got, want in zip(result.tolist(), expected, strict=True):
        assert abs(Fraction(got) - want) <= abs(want) * Fraction(1, 2**50)


def middle_sum(values: list[int]) -> int:
    """Twice the median."""
    ordered = sorted(values)
    return ordered[(len(values) - 1) // 2] + ordered[len(values) // 2]


@settings(max_examples=150, deadline=None)
@given(v=integers)
def test_median_is_exact(v: np.ndarray) -> None:
    result = secure_fl.aggregate(v / 2**16, "median", backend="fixed")
    exactly(result.update, [Fraction(middle_sum(c), 2**17) for c in v.T.tolist()])


@settings(max_examples=150, deadline=None)
@given(v=integers, percent=st.integers(0, 49))
def test_trimmed_mean_is_exact(v: np.ndarray, percent: int) -> None:
    trim = percent * len(v) // 100
    rule = build_rule("trimmed_mean", beta=percent / 100)
    result = secure_fl.aggregate(v / 2**16, rule, backend="fixed")
    middles = [sorted(column)[trim : len(v) - trim] for column in v.T.tolist()]
    exactly(result.update, [Fraction(sum(m), len(m) * 2**16) for m in middles])


@settings(max_examples=100, deadline=None)
@given(v=integers, data=st.data())
def test_means_are_exact(v: np.ndarray, data: st.DataObject) -> None:
    """Of equal weights to the last bit; of others to a step of 2^-16, rounded down."""
    weights = data.draw(st.lists(st.integers(0, 64), min_size=len(v), max_size=len(v)))
    even = secure_fl.aggregate(v / 2**16, "mean", backend="fixed")
    exactly(even.update, [Fraction(sum(c), len(v) * 2**16) for c in v.T.tolist()])
    result = secure_fl.aggregate(
        v / 2**16, "weighted_mean", backend="fixed", reputation=np.array(weights) / 64
    )
    counted = weights if any(weights) else [1] * len(v)
    sums = [sum(w * value for w, value in zip(counted, c, strict=True)) for c in v.T.tolist()]
    if len(set(counted) - {0}) == 1:
        exactly(result.update, [Fraction(s, sum(counted) * 2**16) for s in sums])
        return
    assert (result.update * 2**16).frac().count_nonzero() == 0
    for got, s in zip(result.update.tolist(), sums, strict=True):
        # Weights are within 2^-24 of their shares, values below 2^17 steps.
        assert -1 - len(v) / 128 <= got * 2**16 - s / sum(counted) <= len(v) / 128


@settings(max_examples=150, deadline=None)
@given(v=integers)
def test_screening_at_zero_decides_by_the_exact_sign(v: np.ndarray) -> None:
    """The cosine's sign is that of an integer inner product, however small it is."""
    rows, middle = v.tolist(), [middle_sum(c) for c in v.T.tolist()]
    expected = [sum(a * b for a, b in zip(row, middle, strict=True)) >= 0 for row in rows]
    result = secure_fl.aggregate(v / 2**16, "cosine_median", backend="fixed")
    assert result.accepted.tolist() == expected


@settings(max_examples=60, deadline=None)
@given(v=integers, seed=st.integers(0, 99))
def test_screening_against_a_root_decides_by_the_exact_sign(v: np.ndarray, seed: int) -> None:
    root = np.random.default_rng(seed).standard_normal(v.shape[1])
    direction = [round(c / math.sqrt(sum(root**2)) * 2**30) for c in root]
    dots = [sum(a * b for a, b in zip(row, direction, strict=True)) for row in v.tolist()]
    result = secure_fl.aggregate(v / 2**16, "cosine_root", backend="fixed", reference=root)
    near = [abs(dot) <= 2**20 for dot in dots]  # float64 may round the direction the other way
    for dot, flag, close in zip(dots, result.accepted.tolist(), near, strict=True):
        assert close or flag == (dot >= 0)


@pytest.mark.parametrize("name", sorted(ORACLES))
def test_fixed_is_close_to_plain(name: str) -> None:
    compared, sizes = 0, range(1, fitting(build_rule(name), 21) + 1)
    for n in sizes:
        for kind in KINDS:
            x, reputation, root = case(kind, n, 1 + 6 * (n % 2), seed=1)
            if ORACLES[name](x, reputation, root).margin < DECISIVE:
                continue
            plain, close = (
                secure_fl.aggregate(x, name, backend, **surrounded(reputation, root))
                for backend in ("plain", "fixed")
            )
            assert close.accepted.tolist() == plain.accepted.tolist()
            error = float((close.update - plain.update).abs().max())
            assert error <= CLIPPING_UNITS * UNIT, (n, kind)
            compared += 1
    assert compared >= 2 * len(sizes)


@settings(max_examples=150, deadline=None)
@given(v=integers, bound=st.floats(2**-8, 4))
def test_clipped_updates_keep_to_the_bound(v: np.ndarray, bound: float) -> None:
    """||x|| <= bound (1 + 2^-22) + sqrt(d) units, and short updates pass untouched."""
    rule = build_rule(
        {"max_abs": 4.0, "stages": [{"clip_norm": {"max_norm": bound}}, "coordinate_median"]}
    )
    for row in v[:3]:
        clipped = secure_fl.aggregate(row[None] / 2**16, rule, backend="fixed").update
        length = math.hypot(*row.tolist()) * UNIT
        slack = math.sqrt(len(row)) * UNIT
        assert float(clipped.norm()) <= bound * (1 + 2**-22) + slack
        if length <= bound * (1 - 2**-16):
            assert clipped.tolist() == (row / 2**16).tolist()
        else:
            wanted = torch.as_tensor(row / 2**16) * min(1.0, bound / length)
            assert float((clipped - wanted).abs().max()) <= CLIPPING_UNITS * UNIT


def test_a_square_below_one_unit_still_counts() -> None:
    """CrypTen's own square of 2^-16 truncates to zero; 16 of them make a norm of 4 units."""
    ops = fixed.ClearOps()
    x = torch.full((2, 16), UNIT, dtype=torch.float64)
    norms = reveal(ops.squared_norms(fixed.wrap(x, 18)))
    assert norms.tolist() == [16 * UNIT**2] * 2


def test_norms_are_exact_at_the_edge_of_the_ring() -> None:
    """d 4^(bits - 1) = 2^61 is the last that is taken: 31 bits, two coordinates."""
    rule = {"max_abs": 2.0**14, "stages": [{"clip_norm": {"max_norm": 1.0}}, "coordinate_median"]}
    edge = 2.0**14 - 2 * UNIT
    for x in ([[edge, -edge]], [[-edge, edge]], [[edge, 0.0]]):
        result = secure_fl.aggregate(np.array(x), rule, backend="fixed")
        expected = torch.tensor(x[0]) / math.hypot(*x[0])
        # The factor 2^-14.5 has one or two bits left of sixteen: it may lose a third of itself,
        # never gain.
        assert float(result.update.norm()) <= 1 + 2 * UNIT
        assert torch.sign(result.update).tolist() == torch.sign(expected).tolist()
    with pytest.raises(InputError, match="norms to fit the ring"):
        secure_fl.aggregate(np.zeros((2, 3)), rule, backend="fixed")


@settings(max_examples=200, deadline=None)
@given(value=st.floats(-(2.0**30), 2.0**30), bits=st.integers(9, 31))
def test_values_are_read_modulo_the_width(value: float, bits: int) -> None:
    """Whatever is submitted, what is read lies in the range."""
    scaled = Fraction(value) * 2**16
    rounded = round(scaled)  # ties to even, as encoding does
    x = torch.tensor([[value]], dtype=torch.float64)
    assert int(encode(x)[0, 0]) == rounded
    got = int(fixed.wrap(x, bits).data.values[0, 0])
    assert -(2 ** (bits - 1)) <= got < 2 ** (bits - 1)
    assert (got - rounded) % 2**bits == 0


def test_extremes_of_the_range_survive() -> None:
    for max_abs in (2.0**-8, 1.0, 1.5, 2.0, 2.0**14):
        rule = build_rule("median", max_abs=max_abs)
        edge = rule.limit - 2.0**-16
        x = np.array([[edge, -edge], [-edge, edge], [edge, edge]])
        result = secure_fl.aggregate(x, rule, backend="fixed")
        assert result.update.tolist() == [edge, edge]
