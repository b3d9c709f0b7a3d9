"""Calibration: how often a model names each class is set on rows that are public.

Two classes: a threshold on the log-odds. More: one offset a class, added to its logit before the
largest wins. Both make the shares of answers on the calibration rows those of the labels there.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.metrics.checks import finite, labels, scored
from secure_fl.errors import require

# Offsets are set class by class, and all again until none moves; at most so often.
MAX_PASSES = 50


def log_odds(logits: Any) -> np.ndarray:
    """Return score of class 1 against class 0, logits[:, 1] - logits[:, 0]: (m, 2) -> (m,).

    Unlike a probability it does not saturate, so the order of very sure cases survives.
    """
    values = np.asarray(logits, dtype=np.float64)
    require(values.ndim == 2 and values.shape[1] == 2, "logits", "of shape (m, 2)", values.shape)
    require(len(values) > 0, "logits", "non-empty", values.shape)
    return values[:, 1] - values[:, 0]


def prevalence_threshold(scores: Any, prevalence: float) -> float:
    """Threshold above which the share of `scores` (m,) is as near as possible to `prevalence`.

    Ties in the scores are never split; of two equally near cuts the one with fewer positives
    wins. The threshold lies midway between the two scores that it separates, so new cases close
    to either side are treated alike.
    """
    values = finite(scores, "scores")
    require(0.0 <= prevalence <= 1.0, "prevalence", "between 0 and 1", prevalence)
    levels, counts = np.unique(values, return_counts=True)
    # share[i]: what would be called positive if the cut lay below levels[i]; the last, above all.
    share = np.append(np.cumsum(counts[::-1])[::-1], 0) / len(values)
    nearest = np.abs(share - prevalence)
    cut = int(np.flatnonzero(nearest <= nearest.min() + 1e-12)[-1])
    if cut == 0:
        return float(np.nextafter(levels[0], -np.inf))
    if cut == len(levels):
        return float(levels[-1])
    middle = levels[cut - 1] + (levels[cut] - levels[cut - 1]) / 2
    return float(min(middle, np.nextafter(levels[cut], -np.inf)))


def predict(scores: Any, threshold: float = 0.0) -> np.ndarray:
    """Class 1 where the score is above the threshold, else class 0: (m,) -> int64 (m,).

    The default threshold belongs to `log_odds`: 0 is even odds.
    """
    return (finite(scores, "scores") > threshold).astype(np.int64)


@dataclass(frozen=True)
class Calibration:
    """What is added to each class's logit before the largest wins.

    Attributes:
        offsets: one a class; that of class 0 is 0.
    """

    offsets: tuple[float, ...]

    @property
    def threshold(self) -> float | None:
        """Log-odds above which a case is of class 1, for two classes; None for more."""
        return -self.offsets[1] if len(self.offsets) == 2 else None

    def predict(self, logits: Any) -> np.ndarray:
        """Class of each case: (m, C) -> int64 (m,); a tie goes to the lower class."""
        values = scored(logits)
        classes = len(self.offsets)
        require(values.shape[1] == classes, "logits", f"of {classes} classes", values.shape)
        if self.threshold is not None:
            return predict(log_odds(values), self.threshold)
        return (values + np.asarray(self.offsets)).argmax(axis=1)


def calibrate(logits: Any, y: Any) -> Calibration:
    """Offsets with which each class is named as often as it occurs, as nearly as possible.

    One class after the other gets the offset at which, against all others with theirs, its share of
    the rows is nearest to its share of the labels (`prevalence_threshold`), until no offset moves:
    coordinate ascent on the dual of the assignment of rows to classes of given sizes. Where it
    ends, no class alone could come nearer. With two classes one step is all.

    Args:
        logits: (m, C) of the model on the calibration rows.
        y: labels (m,) there.
    """
    values, truth = scored(logits), labels(y, "y")
    classes = values.shape[1]
    require(len(truth) == len(values), "y", f"as long as logits ({len(values)})", len(truth))
    require(truth.min() >= 0 and truth.max() < classes, "y", f"in 0..{classes - 1}", truth)
    offsets = np.zeros(classes)
    for _ in range(MAX_PASSES if classes > 2 else 1):
        before = offsets.copy()
        for c in range(classes) if classes > 2 else (1,):
            others = np.delete(values + offsets, c, axis=1).max(axis=1)
            share = float(np.mean(truth == c))
            offsets[c] = -prevalence_threshold(values[:, c] - others, share)
        if np.array_equal(before, offsets):
            break
    return Calibration(tuple((offsets - offsets[0]).tolist()))
