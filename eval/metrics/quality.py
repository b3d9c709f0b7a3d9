"""Quality of one model on one test set: of the positive of two classes, or averaged over more."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp

from eval.metrics.calibration import Calibration, log_odds, predict
from eval.metrics.checks import finite, labels, paired, scored
from secure_fl.errors import require
from secure_fl.scikit_learn import metrics as sk


class Classification(NamedTuple):
    """Quality of one model on one test set; all but `auc` depend on the calibration.

    Of two classes, precision, recall and F1 are those of class 1; of more, averages over classes.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float


def accuracy(y_true: Any, y_pred: Any) -> float:
    """Share of cases classified correctly."""
    truth, predicted = paired(y_true, y_pred)
    return float(sk.accuracy_score(truth, predicted))


def precision(y_true: Any, y_pred: Any, positive: int = 1) -> float:
    """Share of the cases called positive that are; 0 where none is called positive."""
    truth, predicted = _against(y_true, y_pred, positive)
    return float(sk.precision_score(truth, predicted, zero_division=0))


def recall(y_true: Any, y_pred: Any, positive: int = 1) -> float:
    """Share of the positive cases found; 0 where there is none."""
    truth, predicted = _against(y_true, y_pred, positive)
    return float(sk.recall_score(truth, predicted, zero_division=0))


def f1(y_true: Any, y_pred: Any, positive: int = 1) -> float:
    """Harmonic mean of precision and recall; 0 where both are 0."""
    truth, predicted = _against(y_true, y_pred, positive)
    return float(sk.f1_score(truth, predicted, zero_division=0))


def auc(y_true: Any, scores: Any) -> float:
    """Area under the ROC curve; `y_true` holds 0 and 1, and both must occur."""
    truth, values = labels(y_true, "y_true"), finite(scores, "scores")
    require(len(values) == len(truth), "scores", f"as long as y_true ({len(truth)})", len(values))
    classes = sorted({int(c) for c in truth})
    require(classes == [0, 1], "y_true", "both classes 0 and 1", classes)
    return float(sk.roc_auc_score(truth, values))


def classification(y_true: Any, scores: Any, threshold: float = 0.0) -> Classification:
    """All five quality measures of a binary model from its scores (m,)."""
    predicted = predict(scores, threshold)
    return Classification(
        accuracy(y_true, predicted),
        precision(y_true, predicted),
        recall(y_true, predicted),
        f1(y_true, predicted),
        auc(y_true, scores),
    )


class ClassQuality(NamedTuple):
    """How well one class is told from all others."""

    precision: float
    recall: float
    f1: float
    auc: float


def one_against_rest(logits: Any, label: int) -> np.ndarray:
    """Log-odds of a class against all others: (m, C) -> (m,); like `log_odds` for two classes."""
    values = scored(logits)
    return values[:, label] - logsumexp(np.delete(values, label, axis=1), axis=1)


def by_class(y_true: Any, logits: Any, calibration: Calibration) -> list[ClassQuality]:
    """Quality of each class against all others; every class must occur in `y_true`."""
    predicted = calibration.predict(logits)
    truth, _ = paired(y_true, predicted)
    return [
        ClassQuality(
            precision(truth, predicted, c),
            recall(truth, predicted, c),
            f1(truth, predicted, c),
            auc((truth == c).astype(np.int64), one_against_rest(logits, c)),
        )
        for c in range(len(calibration.offsets))
    ]


def quality(y_true: Any, logits: Any, calibration: Calibration) -> Classification:
    """All five measures of a model from its logits (m, C).

    Of more than two classes precision, recall, F1 and AUC (each class against the rest) are the
    plain means over the classes, which must all occur in `y_true`.
    """
    if calibration.threshold is not None:
        return classification(y_true, log_odds(logits), calibration.threshold)
    means = np.mean(by_class(y_true, logits, calibration), axis=0).tolist()
    return Classification(accuracy(y_true, calibration.predict(logits)), *means)


def log_loss(y_true: Any, logits: Any) -> float:
    """Mean cross-entropy in nats of logits (m, C) against labels (m,)."""
    return float(_cross_entropy(y_true, logits).mean())


def balanced_log_loss(y_true: Any, logits: Any) -> float:
    """Mean over the classes present of the mean cross-entropy within the class, in nats.

    A model that gives up on a rare class cannot hide behind the frequent one.
    """
    losses = _cross_entropy(y_true, logits)
    truth = labels(y_true, "y_true")
    return float(np.mean([losses[truth == c].mean() for c in np.unique(truth)]))


def _against(y_true: Any, y_pred: Any, positive: int) -> tuple[np.ndarray, np.ndarray]:
    """One class against all others, as two boolean vectors (m,)."""
    truth, predicted = paired(y_true, y_pred)
    return truth == positive, predicted == positive


def _cross_entropy(y_true: Any, logits: Any) -> np.ndarray:
    """Cross-entropy per case, -log softmax(logits)[y]: (m,), (m, C) -> (m,)."""
    truth, values = labels(y_true, "y_true"), np.asarray(logits, dtype=np.float64)
    shape_ok = values.ndim == 2 and values.shape[0] == len(truth) and values.shape[1] >= 2
    require(shape_ok, "logits", f"of shape ({len(truth)}, C >= 2)", values.shape)
    classes = values.shape[1]
    in_range = bool((truth >= 0).all() and (truth < classes).all())
    require(in_range, "y_true", f"between 0 and {classes - 1}", sorted({int(c) for c in truth}))
    return logsumexp(values, axis=1) - values[np.arange(len(truth)), truth]
