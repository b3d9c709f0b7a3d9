"""Rules that bound lengths, literally."""

from __future__ import annotations

import numpy as np

from secure_fl.aggregation.surroundings import Surroundings
from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.parts import average, clip, median_of, norm


def _everybody(x: np.ndarray) -> np.ndarray:
    return np.ones(len(x), bool)


def _mean_clipped(x: np.ndarray, bound: float) -> Outcome:
    clipped = np.array([clip(row, bound) for row in x])
    return Outcome(average(clipped, [1.0] * len(x), x.shape[1]), _everybody(x))


def norm_clipping(x, reputation, root) -> Outcome:
    return _mean_clipped(x, float(np.sqrt(median_of([norm(row) ** 2 for row in x]))))


def norm_screen(x, reputation, root, max_norm=1.0) -> Outcome:
    accepted = np.array([norm(row) <= max_norm for row in x])
    update = average(x[accepted], [1.0] * int(accepted.sum()), x.shape[1])
    margin = min(abs(norm(row) - max_norm) for row in x)
    return Outcome(update, accepted, margin, {"accepted": accepted})


def arc(x, reputation, root, f=None) -> Outcome:
    m = len(x)
    f = (m - 1) // 2 if f is None else f
    clipped = 2 * f * (m - f) // m
    return _mean_clipped(x, sorted(norm(row) for row in x)[m - clipped - 1])


def centered_clipping(x, reputation, root, tau=1.0, iterations=1, last=None) -> Outcome:
    v = np.zeros(x.shape[1]) if last is None else last
    for _ in range(iterations):
        v = v + sum(clip(row - v, tau) for row in x) / len(x)
    return Outcome(v, _everybody(x))


def crfl(x, reputation, root, max_norm=1.0, sigma=0.001) -> Outcome:
    noise = Surroundings().noise(x.shape[1]).numpy() * sigma
    clipped = np.array([clip(row, max_norm) for row in x])
    return Outcome(average(clipped, [1.0] * len(x), x.shape[1]) + noise, _everybody(x))
