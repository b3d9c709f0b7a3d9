"""Rules that look at signs, literally."""

from __future__ import annotations

import numpy as np

from secure_fl.aggregation.surroundings import Surroundings
from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.parts import average, clip, cosine, median_of, norm


def _signs(column: np.ndarray) -> list[int]:
    return [-1 if v < 0 else 1 for v in column]


def sign_majority(x, reputation, root, step=2.0**-10) -> Outcome:
    update = [step * np.sign(sum(_signs(column))) for column in x.T]
    return Outcome(np.array(update), np.ones(len(x), bool))


def robust_learning_rate(x, reputation, root, percent=40) -> Outcome:
    update = []
    for column in x.T:
        mean = sum(float(v) for v in column) / len(column)
        agree = 100 * abs(sum(_signs(column))) >= percent * len(column)
        update.append(mean if agree else -mean)
    return Outcome(np.array(update), np.ones(len(x), bool))


def signguard(x, reputation, root, lower=0.1, upper=3.0, percent=10, deviations=3.0) -> Outcome:
    d = x.shape[1]
    drawn = Surroundings().drawn(max(1, percent * d // 100), d)
    squares = [norm(row) ** 2 for row in x]
    middle = median_of(squares)
    below = [float(sum(v < 0 for v in row[drawn])) for row in x]
    gaps = [abs(b - median_of(below)) for b in below]
    limit = deviations * median_of(gaps)
    in_band = [lower**2 * middle <= s <= upper**2 * middle for s in squares]
    accepted = np.array([a and g <= limit for a, g in zip(in_band, gaps, strict=True)])
    clipped = np.array([clip(row, np.sqrt(middle)) for row in x])
    update = average(clipped[accepted], [1.0] * int(accepted.sum()), d)
    apart = [abs(s - b * middle) for s in squares for b in (lower**2, upper**2)]
    return Outcome(update, accepted, min(apart) if middle else np.inf, {"accepted": accepted})


def _outlying(scores: list[float], deviations: float, slack: float) -> tuple[list[bool], float]:
    """Which lie too far from the median, and how near the closest is to that."""
    middle, mean = median_of(scores), sum(scores) / len(scores)
    variance = sum((s - mean) ** 2 for s in scores) / len(scores)
    limit = (deviations**2 * variance + slack**2) ** 0.5
    gaps = [abs(s - middle) for s in scores]
    return [g > limit for g in gaps], min(abs(g - limit) for g in gaps)


def alignins(x, reputation, root, percent=30, by_signs=1.0, by_cosine=1.0) -> Outcome:
    """The global model is `root`."""
    d = x.shape[1]
    order = sorted(range(d), key=lambda j: (-abs(root[j]), j))
    chosen = order[: max(1, percent * d // 100)]
    principal = {j: 1 if sum(_signs(x[:, j])) >= 0 else -1 for j in chosen}
    apart = [float(sum(_signs(row)[j] != principal[j] for j in chosen)) for row in x]
    odd, _ = _outlying(apart, by_signs, 0.0)
    away, margin = _outlying([cosine(row, root) for row in x], by_cosine, 2.0**-14)
    accepted = np.array([not a and not b for a, b in zip(odd, away, strict=True)])
    update = np.zeros(d)
    if accepted.any():
        bound = np.sqrt(median_of([norm(row) ** 2 for row in x[accepted]]))
        clipped = np.array([clip(row, bound) for row in x[accepted]])
        update = average(clipped, [1.0] * len(clipped), d)
    return Outcome(update, accepted, margin, {"accepted": accepted})
