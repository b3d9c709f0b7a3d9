"""Rules that look at every coordinate by itself, literally."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import torch

from secure_fl.aggregation.weights import whole_copies
from tests.support.literal_rules.outcome import Outcome
from tests.support.literal_rules.parts import medians, norm


def phocas(x, reputation, root, f=None) -> Outcome:
    m = len(x)
    f = (m - 1) // 2 if f is None else f
    update = []
    for column in x.T:
        values = [Fraction(float(v)) for v in column]
        inner = sorted(values)[f : m - f]
        center = sum(inner) / len(inner)
        # Python's sort is stable: ties go below the center first, then by row.
        near = sorted(values, key=lambda v: (abs(v - center), v >= center))[: m - f]
        update.append(float(sum(near) / len(near)))
    return Outcome(np.array(update), np.ones(m, bool))


def weighted_median(x, reputation, root) -> Outcome:
    weights = reputation / reputation.max() if reputation.max() > 0 else np.ones(len(x))
    copies = whole_copies(torch.as_tensor(weights))
    rows = [row for row, count in zip(x, copies, strict=True) for _ in range(count)]
    return Outcome(medians(np.array(rows)), np.ones(len(x), bool))


def foundation_fl(x, reputation, root, percent=50) -> Outcome:
    low, high = x.min(axis=0), x.max(axis=0)
    score = [min(norm(row - low), norm(row - high)) for row in x]
    best = score.index(max(score))
    near = [abs(s - score[best]) for i, s in enumerate(score) if not np.array_equal(x[i], x[best])]
    added = percent * len(x) // 100
    whole = np.concatenate([x, np.repeat(x[best : best + 1], added, axis=0)])
    margin = min(near, default=np.inf) if added else np.inf
    return Outcome(medians(whole), np.ones(len(x), bool), margin)
