"""Krum's family, the geometric median, mixing: in loops over Python numbers."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tests.support.literal_rules.outcome import Outcome


def _squared(a: np.ndarray, b: np.ndarray) -> float:
    return math.fsum((float(p) - float(q)) ** 2 for p, q in zip(a, b, strict=True))


def _first(values: list[float], count: int) -> list[int]:
    """Indices of the smallest, the earlier of equal ones first."""
    return sorted(range(len(values)), key=lambda i: (values[i], i))[:count]


def _mean(rows: list[np.ndarray]) -> np.ndarray:
    return np.array(
        [math.fsum(float(v) for v in column) / len(rows) for column in zip(*rows, strict=True)]
    )


def _chosen(x: np.ndarray, indices: list[int]) -> Outcome:
    return Outcome(_mean([x[i] for i in sorted(indices)]), np.ones(len(x), bool))


def _most(f: int | None, n: int, each: int, beside: int) -> int:
    return max((n - beside) // each, 0) if f is None else f


def _krum_scores(x: np.ndarray, f: int) -> list[float]:
    n = len(x)
    scores = []
    for i in range(n):
        others = sorted(_squared(x[i], x[j]) for j in range(n) if j != i)
        scores.append(math.fsum(others[: max(n - f - 2, 0)]))
    return scores


def krum(x, reputation, root, num_malicious=None) -> Outcome:
    scores = _krum_scores(x, _most(num_malicious, len(x), 2, 3))
    return _chosen(x, _first(scores, 1))


def multi_krum(x, reputation, root, num_malicious=None, keep=None) -> Outcome:
    f = _most(num_malicious, len(x), 2, 3)
    return _chosen(x, _first(_krum_scores(x, f), len(x) - f if keep is None else keep))


def bulyan(x, reputation, root, num_malicious=None) -> Outcome:
    n = len(x)
    f = _most(num_malicious, n, 4, 3)
    selected = [x[i] for i in _first(_krum_scores(x, f), n - 2 * f)]
    update = []
    for column in zip(*selected, strict=True):
        ordered = sorted(float(v) for v in column)
        m = len(ordered)
        middle = (ordered[(m - 1) // 2] + ordered[m // 2]) / 2
        near = sorted(column, key=lambda v: (abs(v - middle), v > middle))
        update.append(math.fsum(near[: n - 4 * f]) / (n - 4 * f))
    return Outcome(np.array(update), np.ones(n, bool))


def geometric_median(x, reputation, root, smoothing=0.01, steps=5, start="mean") -> Outcome:
    v = _mean(list(x)) if start == "mean" else np.zeros(x.shape[1])
    for _ in range(steps):
        near = [1 / max(math.sqrt(_squared(row, v)), smoothing) for row in x]
        v = sum(w * row for w, row in zip(near, x, strict=True)) / math.fsum(near)
    return Outcome(v, np.ones(len(x), bool))


def _mixed(x: np.ndarray, f: int | None) -> np.ndarray:
    count = len(x) - _most(f, len(x), 2, 1)
    near = [_first([_squared(row, other) for other in x], count) for row in x]
    return np.array([_mean([x[j] for j in indices]) for indices in near])


def nnm(x, reputation, root, num_malicious=None) -> Outcome:
    return Outcome(_mean(list(_mixed(x, num_malicious))), np.ones(len(x), bool))


def nnm_median(x, reputation, root, num_malicious=None) -> Outcome:
    return Outcome(np.median(_mixed(x, num_malicious), axis=0), np.ones(len(x), bool))


def monna(x, reputation, root, pivot=0, num_malicious=None) -> Outcome:
    away = [_squared(row, x[pivot]) for row in x]
    return _chosen(x, _first(away, len(x) - _most(num_malicious, len(x), 2, 1)))


def cge(x, reputation, root, num_malicious=None) -> Outcome:
    lengths = [_squared(row, np.zeros(x.shape[1])) for row in x]
    return _chosen(x, _first(lengths, len(x) - _most(num_malicious, len(x), 2, 1)))


def mda(x, reputation, root, num_malicious=None) -> Outcome:
    n = len(x)
    subsets = itertools.combinations(range(n), n - _most(num_malicious, n, 2, 1))

    def diameter(subset: tuple[int, ...]) -> float:
        return max((_squared(x[i], x[j]) for i, j in itertools.combinations(subset, 2)), default=0)

    return _chosen(x, list(min(subsets, key=diameter)))


def dnc(x, reputation, root, num_malicious=None) -> Outcome:
    n = len(x)
    keep = n - _most(num_malicious, n, 2, 1)
    away = x - _mean(list(x))
    spread = np.array([[math.fsum(p * q) for q in away] for p in away])  # (n, n)
    power = np.linalg.matrix_power(spread / max(np.trace(spread), 1e-300), 16)
    along = spread @ power[:, max(range(n), key=lambda i: (power[i, i], -i))]
    scores = [float(v) ** 2 for v in along]
    kept = _first(scores, keep)
    left = [i for i in range(n) if i not in kept]
    largest = max(scores)
    # Equal rows may take each other's place.
    gaps = [
        abs(math.sqrt(scores[i]) - math.sqrt(scores[j])) / math.sqrt(largest)
        for i in kept
        for j in left
        if largest > 0 and not np.array_equal(x[i], x[j])
    ]
    outcome = _chosen(x, kept)
    outcome.margin = min(gaps, default=math.inf)
    return outcome


def caf(x, reputation, root, num_malicious=None) -> Outcome:
    n = len(x)
    limit = n - 2 * _most(num_malicious, n, 2, 1)
    weights, before = np.ones(n), np.zeros(n, bool)
    best, least, margin = _mean(list(x)), math.inf, math.inf
    while weights.sum() > limit:
        mean = weights @ x / weights.sum()
        away, scale = x - mean, np.sqrt(weights / weights.sum())
        spread = scale[:, None] * (away @ away.T) * scale
        size = np.trace(spread)
        if size < 1e-12:  # all rows that are left are equal: rounding tells the rest
            margin = min(margin, size * 1e9)
            break
        power = np.linalg.matrix_power(spread / size, 16)
        longest = power.diagonal()
        along = power[:, longest.argmax()]
        value = (along @ spread @ along) / (along @ along)
        margin = min(margin, abs(value / least - 1), _gap(longest, x))
        if value < least:
            best, least = mean, value
        squared = np.where(before, 0, (away @ away.T @ (scale * along)) ** 2)
        margin = min(margin, _gap(squared, x))
        farthest = int(squared.argmax())
        weights = weights * (1 - squared / squared[farthest])
        before[farthest] = True
        margin = min(margin, abs(weights.sum() - limit))
    return Outcome(best, np.ones(n, bool), margin)


def _gap(scores: np.ndarray, x: np.ndarray) -> float:
    """By which share of the largest score another row's is less; equal rows do not count."""
    first = scores.argmax()
    others = [s for s, row in zip(scores, x, strict=True) if not np.array_equal(row, x[first])]
    return 1 - max(others, default=0) / scores[first]
