"""ByzFL 0.0.11 and this library: equal where conventions are, and pinned where they are not."""

from __future__ import annotations

from collections.abc import Callable
from types import ModuleType
from typing import Any

import numpy as np
import pytest

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.aggregation.surroundings import groups_of
from tests.support.byzfl_rules import byzfl_aggregators

D = 6


@pytest.fixture(scope="module")
def byzfl() -> ModuleType:
    return byzfl_aggregators()


def ours(x: np.ndarray, name: str, **params: Any) -> np.ndarray:
    return np.asarray(secure_fl.aggregate(x, build_rule(name, **params)).update)


def piped(x: np.ndarray, *stages: Any) -> np.ndarray:
    """Our stages, as data."""
    result = secure_fl.aggregate(x, {"max_abs": 8.0, "stages": list(stages)}, seed=bytes(32))
    return np.asarray(result.update)


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
    "arc": (
        lambda b, x, f: b.Average()(b.ARC(f)(x.copy())),
        lambda x, f: ours(x, "arc", num_malicious=f),
    ),
    "arc_median": (
        lambda b, x, f: b.Median()(b.ARC(f)(x.copy())),
        lambda x, f: piped(x, {"arc": {"num_malicious": f}}, "coordinate_median"),
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


def test_bucketing_is_byzfls_where_the_size_divides_the_rows(
    byzfl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the groups drawn here in the place of its permutation."""
    rng = np.random.default_rng(3)
    for n, size in ((4, 2), (9, 3), (12, 4), (40, 5), (6, 1)):
        x = rng.normal(size=(n, D)) * 0.4
        order = [row for group in groups_of(bytes(32), n, size) for row in group]
        monkeypatch.setattr(np.random, "permutation", lambda rows, order=order: rows[order])
        theirs = np.median(byzfl.Bucketing(size)(x), axis=0)
        own = piped(x, {"bucketing": {"size": size}}, "coordinate_median")
        np.testing.assert_allclose(own, theirs, rtol=0, atol=1e-6)


def test_bucketing_leaves_no_row_alone_and_byzfls_does(
    byzfl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Five rows in groups of two: here two groups, there three."""
    x = np.arange(5.0)[:, None] / 4
    assert [len(group) for group in groups_of(bytes(32), 5, 2)] == [3, 2]
    assert byzfl.Bucketing(2)(x).shape == (3, 1)


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


def test_caf_equals_byzfls_once_its_power_iteration_has_converged(
    byzfl: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Theirs takes one step from a random vector; here from one that a step leaves as it is."""
    rng = np.random.default_rng(2)
    for n in range(3, 11):
        turn = np.linalg.qr(rng.normal(size=(n, n)))[0]
        x = 0.2 * rng.normal(size=n) + 0.4 ** np.arange(n)[:, None] * turn
        for f in range(1, (n - 1) // 2 + 1):
            directions = iter(main_directions(x, f))
            monkeypatch.setattr(np.random, "randn", lambda d, given=directions: next(given))
            wanted = byzfl.CAF(f)(x)
            assert next(directions, None) is None
            np.testing.assert_allclose(ours(x, "caf", num_malicious=f), wanted, rtol=0, atol=1e-6)


def main_directions(x: np.ndarray, f: int) -> list[np.ndarray]:
    """The top eigenvectors of the weighted covariance, pass by pass of ByzFL's filter."""
    weights, found = np.ones(len(x)), []
    while weights.sum() > len(x) - 2 * f:
        away = x - weights @ x / weights.sum()
        found.append(np.linalg.eigh((weights[:, None] * away).T @ away)[1][:, -1])
        squared = (away @ found[-1]) ** 2
        weights = weights * (1 - squared / squared.max())
    return found


def test_caf_takes_a_rows_weight_in_each_pass_and_byzfls_may_not(byzfl: ModuleType) -> None:
    """The row at 9/8 has no weight after the first pass, and is the farthest in all that follow."""
    x = np.array([[9.0], [1.0], [-1.0], [0.5], [0.0]]) / 8
    assert byzfl.CAF(2)(x) == pytest.approx([0.0514], abs=1e-3)
    assert ours(x, "caf", num_malicious=2) == pytest.approx([0.0403], abs=1e-3)
