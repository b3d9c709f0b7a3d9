"""Clusters, FLAME and FoolsGold: in loops over Python numbers."""

from __future__ import annotations

import numpy as np

from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.resemblance import (
    TOLERANCE,
    average,
    bounded,
    combined,
    cosine,
    majority,
    middle,
    norm,
    weights_of_fools_gold,
)


def clustering(x, reputation, root) -> Outcome:
    flags, margin = majority(x)
    update = average(list(x[flags]), x.shape[1])
    return Outcome(update, flags, margin, {"accepted": flags})


def clipped_clustering(x, reputation, root, before=()) -> Outcome:
    bound = middle([*before, *(norm(row) ** 2 for row in x)])
    flags, margin = majority(x)
    update = average([bounded(row, bound) for row in x[flags]], x.shape[1])
    return Outcome(update, flags, margin, {"accepted": flags})


def flame(x, reputation, root, threshold=0.0) -> Outcome:
    n = len(x)
    cosines = [[cosine(a, b) for b in x] for a in x]
    limit = threshold - TOLERANCE
    others = [[cosines[i][j] for j in range(n) if j != i] for i in range(n)]
    flags = np.array([sum(c >= limit for c in row) >= n // 2 for row in others])
    bound = middle([norm(row) ** 2 for row in x])
    update = average([bounded(row, bound) for row in x[flags]], x.shape[1])
    margin = min((abs(c - limit) for row in others for c in row if abs(c) > 1e-12), default=1.0)
    return Outcome(update, flags, margin, {"accepted": flags})


def foolsgold(x, reputation, root, max_norm=1.0) -> Outcome:
    clipped = np.array([bounded(row, max_norm**2) for row in x])
    return combined(clipped, weights_of_fools_gold(clipped))
