"""Rows with several labels or none: each label is a question of its own, and means are over labels.

Every label has a threshold of its own, at which it is named as often as it occurs on public rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from eval.metrics.calibration import predict, prevalence_threshold
from eval.metrics.checks import scored
from eval.metrics.quality import Classification, ClassQuality, accuracy, auc, f1, precision, recall
from secure_fl.errors import require


@dataclass(frozen=True)
class LabelThresholds:
    """Log-odds above which each label is named."""

    thresholds: tuple[float, ...]

    @property
    def threshold(self) -> None:
        """There is not one for all."""
        return None

    def predict(self, logits: Any) -> np.ndarray:
        """Labels of each case: (m, L) -> int64 (m, L) of 0 and 1."""
        values = scored(logits)
        labels = len(self.thresholds)
        require(values.shape[1] == labels, "logits", f"of {labels} labels", values.shape)
        each = zip(values.T, self.thresholds, strict=True)
        return np.stack([predict(column, threshold) for column, threshold in each], axis=1)


def calibrate_labels(logits: Any, y: Any) -> LabelThresholds:
    """Thresholds with which each label is named as often as it occurs, as nearly as possible.

    Args:
        logits: (m, L) of the model on the calibration rows.
        y: 0 and 1 (m, L) there.
    """
    values, truth = _paired(logits, y)
    return LabelThresholds(
        tuple(
            prevalence_threshold(column, float(own.mean()))
            for column, own in zip(values.T, truth.T, strict=True)
        )
    )


def by_label(y_true: Any, logits: Any, thresholds: LabelThresholds) -> list[ClassQuality]:
    """Quality of each label; some cases must have it and some not."""
    values, truth = _paired(logits, y_true)
    named = thresholds.predict(values)
    return [
        ClassQuality(precision(own, said), recall(own, said), f1(own, said), auc(own, column))
        for own, said, column in zip(truth.T, named.T, values.T, strict=True)
    ]


def label_quality(y_true: Any, logits: Any, thresholds: LabelThresholds) -> Classification:
    """All five measures, each the plain mean over the labels; accuracy is over all answers."""
    values, truth = _paired(logits, y_true)
    means = np.mean(by_label(truth, values, thresholds), axis=0).tolist()
    return Classification(accuracy(truth.ravel(), thresholds.predict(values).ravel()), *means)


def _paired(logits: Any, y: Any) -> tuple[np.ndarray, np.ndarray]:
    """Logits (m, L) and as many answers 0 and 1."""
    values, truth = scored(logits), np.asarray(y)
    require(truth.shape == values.shape, "y", f"of shape {values.shape}", truth.shape)
    require(bool(np.isin(truth, (0, 1)).all()), "y", "0 and 1", np.unique(truth)[:8])
    return values, truth
