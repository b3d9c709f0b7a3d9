"""Every shipped rule once more: slow, obvious loops in NumPy, from the documentation alone.

Those of `literal_rules` draw groups, places and noise from a seed of zeros, and take the root
direction for the global model.

An oracle takes updates (n, d), reputations (n,), a root direction (d,) and returns an `Outcome`.
`margin` is how far the closest decision was from going the other way: floating point and fixed
point may disagree on the flags only where it is tiny.
"""

from __future__ import annotations

from collections.abc import Callable
from fractions import Fraction
from typing import Any

import numpy as np

from tests.support.literal_rules import LITERAL
from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.parts import (
    average,
    clip,
    cosine,
    floor_share,
    median_of,
    medians,
    norm,
)


def mean(x, reputation, root) -> Outcome:
    return Outcome(average(x, [1.0] * len(x), x.shape[1]), np.ones(len(x), bool))


def mean_by_samples(x, reputation, root) -> Outcome:
    return mean(x, reputation, root)  # where nobody says how many rows there are


def weighted_mean(x, reputation, root) -> Outcome:
    return Outcome(average(x, list(reputation), x.shape[1]), np.ones(len(x), bool))


def clipped_mean(x, reputation, root, max_norm=1.0) -> Outcome:
    return mean(np.array([clip(row, max_norm) for row in x]), reputation, root)


def median(x, reputation, root) -> Outcome:
    return Outcome(medians(x), np.ones(len(x), bool))


def trimmed_mean(x, reputation, root, beta=0.2) -> Outcome:
    trim = floor_share(beta, len(x))
    kept = [sorted(column)[trim : len(x) - trim] for column in x.T]
    return Outcome(np.array([sum(k) / len(k) for k in kept]), np.ones(len(x), bool))


def mean_around_median(x, reputation, root, beta=0.2) -> Outcome:
    keep = len(x) - floor_share(beta, len(x))
    update = []
    for column in x.T:
        middle = Fraction(median_of([float(v) for v in column]))
        # Python's sort is stable: ties go below the median first, then by row.
        near = sorted(column, key=lambda v: (abs(Fraction(v) - middle), v > middle))
        update.append(sum(near[:keep]) / keep)
    return Outcome(np.array(update), np.ones(len(x), bool))


def _screened(x: np.ndarray, scores: list[float], threshold: float = 0.0) -> Outcome:
    accepted = np.array([s >= threshold for s in scores])
    margin = min(abs(s - threshold) for s in scores)
    update = average(x[accepted], [1.0] * int(accepted.sum()), x.shape[1])
    return Outcome(update, accepted, margin, {"accepted": accepted})


def cosine_median(x, reputation, root) -> Outcome:
    middle = medians(x)
    return _screened(x, [cosine(row, middle) for row in x])


def cosine_pairwise(x, reputation, root) -> Outcome:
    scores = []
    for i, row in enumerate(x):
        others = [cosine(row, other) for j, other in enumerate(x) if j != i]
        scores.append(sum(others) / max(len(others), 1))
    return _screened(x, scores)


def cosine_root(x, reputation, root) -> Outcome:
    return _screened(x, [cosine(row, root) for row in x])


def algorithm2(x, reputation, root, max_norm=1.0, threshold=0.0, beta=0.2) -> Outcome:
    clipped = np.array([clip(row, max_norm) for row in x])
    middle = medians(clipped)
    scores = [cosine(row, middle) for row in clipped]
    accepted = np.array([s >= threshold for s in scores])
    kept = clipped[accepted].copy()
    if len(kept):
        trim, substitute = floor_share(beta, len(kept)), medians(kept)
        for j in range(x.shape[1]):
            order = sorted(range(len(kept)), key=lambda i: (kept[i, j], i))
            extremes = order[:trim] + order[len(kept) - trim :]
            kept[extremes, j] = substitute[j]
    update = average(kept, [r for r, a in zip(reputation, accepted, strict=True) if a], x.shape[1])
    margin = min(abs(s - threshold) for s in scores)
    return Outcome(update, accepted, margin, {"accepted": accepted})


class Guarded:
    """The rule `guarded` over several rounds; hospitals may be absent."""

    def __init__(self, hospitals: int, dim: int) -> None:
        self.hospitals, self.dim = hospitals, dim
        self.totals: dict[int, np.ndarray] = {}
        self.root = np.zeros(dim)

    def round(
        self, rows, reputation, root, max_norm=1.0, ratio=0.25, deviations=9.0, spared=1.0
    ) -> Outcome:
        """`rows`: update (d,) by hospital present."""
        bound = min(max_norm, np.sqrt(median_of([norm(row) ** 2 for row in rows.values()])))
        clipped = {h: clip(row, bound) for h, row in rows.items()}
        self.root = self.root + clip(root, max_norm)
        for h, row in clipped.items():
            self.totals[h] = self.totals.get(h, np.zeros(self.dim)) + row
        score = {h: cosine(self.totals[h], self.root) for h in rows}
        middle = median_of(list(score.values()))
        spread = median_of([abs(s - middle) for s in score.values()])
        strict = min(max(ratio * middle, middle - deviations * spread), spared)
        limit = strict - 2.0**-14
        accepted = np.zeros(self.hospitals, bool)
        for h in rows:
            accepted[h] = score[h] >= limit
        used = [h for h in rows if accepted[h] and score[h] >= middle]
        update = average(
            np.array([clipped[h] for h in used]), [reputation[h] for h in used], self.dim
        )
        # The hospital in the middle decides nothing by a hair: its score is the median itself.
        # Nor do equal hospitals; different ones with one score do.
        gaps = [abs(s - middle) for s in score.values() if abs(s - middle) > 1e-15]
        gaps += [abs(s - limit) for s in score.values() if abs(s - strict) > 1e-15]
        margin = min(gaps, default=float("inf"))
        same = [(a, b) for a in rows for b in rows if a < b and abs(score[a] - score[b]) < 1e-12]
        if any(not np.array_equal(self.totals[a], self.totals[b]) for a, b in same):
            margin = 0.0
        flags = {
            "accepted": np.array([accepted[h] for h in sorted(rows)]),
            "used": np.array([h in used for h in sorted(rows)]),
        }
        return Outcome(update, accepted, margin, flags)


def guarded(x, reputation, root) -> Outcome:
    return Guarded(*x.shape).round(dict(enumerate(x)), reputation, root)


ORACLES: dict[str, Callable[..., Outcome]] = {
    f.__name__: f
    for f in (
        mean,
        mean_by_samples,
        weighted_mean,
        clipped_mean,
        median,
        trimmed_mean,
        mean_around_median,
        cosine_median,
        cosine_pairwise,
        cosine_root,
        algorithm2,
        guarded,
    )
} | LITERAL


def case(kind: str, n: int, d: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Updates (n, d) in (-2, 2), exact at 16 fractional bits, reputations (n,), a root (d,)."""
    rng = np.random.default_rng([seed, n, d])
    drift = 0.1 * np.sign(rng.standard_normal(d))
    x = 0.2 * rng.standard_normal((n, d)) + drift
    if kind == "ties":
        x = rng.integers(-2, 3, (n, d)) / 4.0
    elif kind == "equal":
        x = np.repeat(x[:1], n, axis=0)
    elif kind == "negative":
        x = -np.abs(x)
    elif kind == "extreme":
        x[rng.integers(n)] = 1.99 * np.sign(rng.standard_normal(d))
    elif kind == "zero":
        x = np.zeros((n, d))
    elif kind != "plain":
        raise ValueError(kind)
    x = np.clip(np.round(x * 2**16) / 2**16, -1.99, 1.99)
    x = np.round(x * 2**16) / 2**16
    reputation = rng.integers(0, 65, n) / 64.0
    return x, reputation, drift + 0.1 * rng.standard_normal(d)


KINDS = ("plain", "ties", "equal", "negative", "extreme", "zero")


def surrounded(reputation: np.ndarray | None, root: Any) -> dict[str, Any]:
    """What is public of a case, as `secure_fl.aggregate` takes it in the clear."""
    return {"reputation": reputation, "reference": root, "model": root, "seed": bytes(32)}
