"""ByzFL 0.0.11 and this library: equal where conventions are, and pinned where they are not."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import secure_fl
from secure_fl.aggregation import build_rule
from tests.support.byzfl_rules import byzfl_aggregators

D = 6


@pytest.fixture(scope="module")
def byzfl() -> ModuleType:
    return byzfl_aggregators()


def ours(x: np.ndarray, name: str, **params: Any) -> np.ndarray:
    return np.asarray(secure_fl.aggregate(x, build_rule(name, **params)).update)


Pair = tuple[Callable[[ModuleType, np.ndarray, int], Any], Callable[[np.ndarray, int], Any]]
PAIRS: dict[str, Pair] = {
    "mean": (lambda b, x, f: b.Average()(x), lambda x, f: ours(x, "mean")),
    "median": (lambda b, x, f: b.Median()(x), lambda x, f: ours(x, "median")),
    "trimmed_mean": (
        lambda b, x, f: b.TrMean(f)(x),
        lambda x, f: ours(x, "trimmed_mean", beta=f / len(x)),
    ),
    "mean_around_median": (
        lambda b, x, f: b.Meamed(f)(x),
        lambda x, f: ours(x, "mean_around_median", beta=f / len(x)),
    ),
    "clipped_mean": (
        lambda b, x, f: b.Average()(b.Clipping(1.5)(x.copy())),
        lambda x, f: ours(x, "clipped_mean", max_norm=1.5),
    ),
    "geometric_median": (
        lambda b, x, f: b.GeometricMedian(nu=0.1, T=3)(x),
        lambda x, f: ours(x, "geometric_median", smoothing=0.1, steps=3, start="zero"),
    ),
    "monna": (lambda b, x, f: b.MoNNA(f)(x), lambda x, f: ours(x, "monna", num_malicious=f)),
    "nnm": (
        lambda b, x, f: b.Average()(b.NNM(f)(x)),
        lambda x, f: ours(x, "nnm", num_malicious=f),
    ),
    "nnm_median": (
        lambda b, x, f: b.Median()(b.NNM(f)(x)),
        lambda x, f: ours(x, "nnm_median", num_malicious=f),
    ),
    # Its neighbours are one more: those of the paper for one malicious row less.
    "krum": (
        lambda b, x, f: b.Krum(f)(x) if f else x[0],
        lambda x, f: ours(x, "krum", num_malicious=f - 1) if f else x[0],
    ),
    "multi_krum": (
        lambda b, x, f: b.MultiKrum(f)(x) if f else x[0],
        lambda x, f: ours(x, "multi_krum", num_malicious=f - 1, keep=len(x) - f) if f else x[0],
    ),
}


@pytest.mark.parametrize("name", sorted(PAIRS))
def test_equal_to_byzfl_for_2_to_40_hospitals(byzfl: ModuleType, name: str) -> None:
    theirs, own = PAIRS[name]
    rng = np.random.default_rng(0)
    for n in range(2, 41):
        x = rng.normal(size=(n, D)) * rng.choice([0.2, 0.4], (n, 1))
        for f in {0, (n - 1) // 4, (n - 1) // 2}:
            np.testing.assert_allclose(own(x, f), theirs(byzfl, x, f), rtol=0, atol=1e-6)


def test_subsets_of_least_diameter_equal_byzfls(byzfl: ModuleType) -> None:
    rng = np.random.default_rng(1)
    for n in range(2, 10):
        x = rng.normal(size=(n, D)) * 0.4
        for f in range((n - 1) // 2 + 1):
            wanted = byzfl.MDA(f)(x) if n - f > 1 else x[0]
            np.testing.assert_allclose(ours(x, "mda", num_malicious=f), wanted, rtol=0, atol=1e-6)


def test_krum_counts_the_neighbours_of_the_paper_and_byzfl_one_more(byzfl: ModuleType) -> None:
    """n = 5, f = 1: two neighbours here, three there."""
    x = np.array([[0.1], [-0.1], [0.6], [0.1], [-0.5]])
    assert ours(x, "krum", num_malicious=1).tolist() == [0.1]
    assert byzfl.Krum(1)(x).tolist() == [-0.1]
    assert ours(x, "krum", num_malicious=0).tolist() == [-0.1]


def test_the_geometric_median_starts_from_the_mean_and_byzfls_from_zero(byzfl: ModuleType) -> None:
    x = np.array([[0.0, 1.0], [0.1, 1.1], [0.9, -1.5]])
    theirs = byzfl.GeometricMedian(nu=0.1, T=3)(x)
    default = ours(x, "geometric_median", smoothing=0.1, steps=3)
    assert np.abs(default - theirs).max() > 1e-3
    np.testing.assert_allclose(
        ours(x, "geometric_median", smoothing=0.1, steps=3, start="zero"), theirs, atol=1e-9
    )
