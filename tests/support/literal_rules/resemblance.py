"""How rows resemble one another: cosines, clusters by spanning trees, FoolsGold's weights."""

from __future__ import annotations

import itertools
import math

import numpy as np

from tests.support.literal_rules.outcome import Outcome

TOLERANCE = 2.0**-14


def norm(row: np.ndarray) -> float:
    return math.sqrt(math.fsum(float(v) ** 2 for v in row))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = norm(a) * norm(b)
    dot = math.fsum(float(p) * float(q) for p, q in zip(a, b, strict=True))
    return dot / lengths if lengths > 0 else 0.0


def middle(values: list[float]) -> float:
    ordered = sorted(values)
    m = len(ordered)
    return (ordered[(m - 1) // 2] + ordered[m // 2]) / 2


def bounded(row: np.ndarray, squared: float) -> np.ndarray:
    length = norm(row)
    return row * (math.sqrt(squared) / length) if length**2 > squared else row


def average(rows: list[np.ndarray], dim: int) -> np.ndarray:
    if not rows:
        return np.zeros(dim)
    return np.array([math.fsum(map(float, c)) / len(rows) for c in zip(*rows, strict=True)])


def _components(n: int, edges: list[tuple[int, int]]) -> list[set[int]]:
    groups = [{i} for i in range(n)]
    for i, j in edges:
        first, second = (next(g for g in groups if k in g) for k in (i, j))
        if first is not second:
            groups.remove(second)
            first |= second
    return sorted(groups, key=min)


def majority(x: np.ndarray) -> tuple[np.ndarray, float]:
    """Flags of the larger cluster, by the maximal spanning tree; how narrowly."""
    n = len(x)
    pairs = itertools.combinations(range(n), 2)
    links = sorted(((cosine(x[i], x[j]), i, j) for i, j in pairs), reverse=True)
    tree: list[tuple[float, int, int]] = []
    for link in links:
        so_far = [(i, j) for _, i, j in tree]
        joined = len(_components(n, [*so_far, link[1:]])) < len(_components(n, so_far))
        tree += [link] if joined else []
    if not tree:
        return np.ones(n, bool), math.inf
    cut = min(tree[-1][0] + TOLERANCE, 1 - TOLERANCE)
    groups = _components(n, [(i, j) for cosine, i, j in tree if cosine > cut])
    largest = max(groups, key=len)
    margin = min(abs(cosine - cut) for cosine, _, _ in tree)
    # Apart by the tolerance itself: equal links, which no rounding tells apart.
    margin = min((abs(c - cut) for c, _, _ in tree if abs(c - tree[-1][0]) > 1e-12), default=margin)
    return np.array([i in largest for i in range(n)]), margin


def weights_of_fools_gold(history: np.ndarray) -> list[float]:
    """Weights in [0, 1] from accumulated updates (n, d); the logarithm as it is."""
    n, least = len(history), 2.0**-10
    alike = [
        [cosine(a, b) if i != j else 0.0 for j, b in enumerate(history)]
        for i, a in enumerate(history)
    ]
    v = [max(row) for row in alike]
    for i, j in itertools.product(range(n), range(n)):
        alike[i][j] *= min(v[i] / max(v[j], least), 1.0)
    unlike = [1 - max(row) for row in alike]
    largest = max(max(unlike), least)
    weights = []
    for w in (w / largest for w in unlike):
        logit = -math.inf if w <= 0 else math.inf if w >= 1 else math.log(w / (1 - w))
        weights.append(min(max(logit + 0.5, 0.0), 1.0))
    return weights


def combined(x: np.ndarray, weights: list[float]) -> Outcome:
    """The mean by these weights; the sum, where they are less than half a hospital's."""
    total = max(math.fsum(weights), 0.5)
    summed = sum(w * row for w, row in zip(weights, x, strict=True))
    return Outcome(summed / total, np.ones(len(x), bool), error=1e-7)
