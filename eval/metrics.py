"""Metrics of a run: plain functions of labels, scores and predictions.

Every function takes array-likes (lists, NumPy arrays, CPU tensors), reads them without changing
them, and returns Python floats. Shapes: m test cases, C classes, d parameters. An empty or
mismatched input raises `secure_fl.errors.InputError`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.special import logsumexp
from sklearn import metrics as sk

from secure_fl.errors import InputError, require

OBJECTIVES = ("none", "untargeted", "label_flip", "backdoor")


class Classification(NamedTuple):
    """Quality of one model on one test set; all but `auc` depend on the threshold."""

    accuracy: float
    precision: float
    recall: float
    f1: float
    auc: float


class AttackSuccess(NamedTuple):
    """How far an attack got: attacked model, clean model, and the difference (may be negative)."""

    raw: float
    base: float
    excess: float


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
    values = _finite(scores, "scores")
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
    return (_finite(scores, "scores") > threshold).astype(np.int64)


def accuracy(y_true: Any, y_pred: Any) -> float:
    """Share of cases classified correctly."""
    truth, predicted = _paired(y_true, y_pred)
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
    truth, values = _labels(y_true, "y_true"), _finite(scores, "scores")
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


def log_loss(y_true: Any, logits: Any) -> float:
    """Mean cross-entropy in nats of logits (m, C) against labels (m,)."""
    return float(_cross_entropy(y_true, logits).mean())


def balanced_log_loss(y_true: Any, logits: Any) -> float:
    """Mean over the classes present of the mean cross-entropy within the class, in nats.

    A model that gives up on a rare class cannot hide behind the frequent one.
    """
    losses = _cross_entropy(y_true, logits)
    truth = _labels(y_true, "y_true")
    return float(np.mean([losses[truth == c].mean() for c in np.unique(truth)]))


def label_flip_success(y_true: Any, y_pred: Any, source_class: int, target_class: int) -> float:
    """Share of the source-class cases that are classified as the class they were flipped to."""
    require(source_class != target_class, "target_class", "not source_class", target_class)
    truth, predicted = _paired(y_true, y_pred)
    source = truth == source_class
    require(bool(source.any()), "y_true", f"at least one case of class {source_class}", "none")
    return float(np.mean(predicted[source] == target_class))


def backdoor_success(y_true: Any, y_pred_triggered: Any, target_class: int) -> float:
    """Share of cases of other classes that the trigger sends to the target class.

    `y_pred_triggered` (m,) are predictions on the same cases with the trigger applied.
    """
    truth, predicted = _paired(y_true, y_pred_triggered)
    other = truth != target_class
    require(bool(other.any()), "y_true", f"at least one case not of class {target_class}", "none")
    return float(np.mean(predicted[other] == target_class))


def untargeted_success(y_true: Any, y_pred_clean: Any, y_pred_attacked: Any) -> float:
    """Share of all cases that the clean model gets right and the attacked one wrong.

    Meaningful where both models were trained with the same random numbers: otherwise retraining
    alone moves some cases.
    """
    truth, clean = _paired(y_true, y_pred_clean)
    _, attacked = _paired(y_true, y_pred_attacked)
    return float(np.mean((clean == truth) & (attacked != truth)))


def attack_success(
    objective: str,
    y_true: Any,
    y_pred_attacked: Any,
    y_pred_clean: Any,
    *,
    source_class: int | None = None,
    target_class: int | None = None,
) -> AttackSuccess | None:
    """Attack success of the attacked model, of the clean one, and the difference.

    Args:
        objective: "label_flip" (needs both classes), "backdoor" (needs `target_class`),
            "untargeted", or "none", for which the answer is None.
        y_true: labels (m,).
        y_pred_attacked: predictions (m,) of the attacked model; for a backdoor on triggered cases.
        y_pred_clean: the same from the model trained without attack on the same random numbers.
        source_class: class whose labels the attacker changes.
        target_class: class that the attacker wants to see.

    The base of an untargeted attack is 0: a clean model does not differ from itself.
    """
    require(objective in OBJECTIVES, "objective", f"one of {', '.join(OBJECTIVES)}", objective)
    if objective == "none":
        return None
    if objective == "untargeted":
        raw = untargeted_success(y_true, y_pred_clean, y_pred_attacked)
        return AttackSuccess(raw, 0.0, raw)
    target = _given(target_class, "target_class", objective)
    if objective == "backdoor":
        raw = backdoor_success(y_true, y_pred_attacked, target)
        base = backdoor_success(y_true, y_pred_clean, target)
    else:
        source = _given(source_class, "source_class", objective)
        raw = label_flip_success(y_true, y_pred_attacked, source, target)
        base = label_flip_success(y_true, y_pred_clean, source, target)
    return AttackSuccess(raw, base, raw - base)


def robustness_degradation(clean_accuracy: float, attacked_accuracy: float) -> float:
    """D_r = A_c - A_a (section 4.2 of the paper): accuracy that the attack costs."""
    for name, value in (("clean_accuracy", clean_accuracy), ("attacked", attacked_accuracy)):
        require(0.0 <= value <= 1.0, name, "between 0 and 1", value)
    return float(clean_accuracy - attacked_accuracy)


def model_drift(parameters: Any, reference: Any) -> float:
    """Relative distance ||w - w_ref|| / ||w_ref|| between two parameter vectors (d,)."""
    current, start = _finite(parameters, "parameters"), _finite(reference, "reference")
    require(current.shape == start.shape, "parameters", f"of shape {start.shape}", current.shape)
    length = float(np.linalg.norm(start))
    require(length > 0.0, "reference", "not the zero vector", length)
    return float(np.linalg.norm(current - start)) / length


def drift_alarms(drifts: Sequence[float], limit: float = 6.0, warm_up: int = 3) -> list[bool]:
    """Mark rounds whose drift stands out from the rounds before them.

    Round t is marked if its drift exceeds median + `limit` * MAD of the earlier drifts (MAD:
    median absolute deviation, at least 1 % of the median so that a steady run raises no alarm).
    The first `warm_up` rounds are never marked.
    """
    require(limit > 0, "limit", "> 0", limit)
    require(warm_up >= 1, "warm_up", ">= 1", warm_up)
    values = np.asarray(drifts, dtype=np.float64)
    alarms = [False] * len(values)
    for t in range(warm_up, len(values)):
        middle = float(np.median(values[:t]))
        spread = max(float(np.median(np.abs(values[:t] - middle))), 0.01 * middle)
        alarms[t] = bool(values[t] > middle + limit * spread)
    return alarms


def _given(value: int | None, name: str, objective: str) -> int:
    """Return `value`, or refuse its absence."""
    if value is None:
        raise InputError(f"{name} must be given for objective {objective}; got None")
    return value


def _finite(values: Any, name: str) -> np.ndarray:
    """Check that `values` is a non-empty vector without NaN or infinity; float64 (m,)."""
    vector = np.asarray(values, dtype=np.float64)
    require(vector.ndim == 1 and len(vector) > 0, name, "a non-empty vector", vector.shape)
    require(bool(np.isfinite(vector).all()), name, "finite", "NaN or infinity")
    return vector


def _labels(values: Any, name: str) -> np.ndarray:
    """Check that `values` is a non-empty vector of integers (m,)."""
    vector = np.asarray(values)
    require(vector.ndim == 1 and len(vector) > 0, name, "a non-empty vector", vector.shape)
    require(vector.dtype.kind in "iub", name, "integer class labels", str(vector.dtype))
    return vector


def _paired(y_true: Any, y_pred: Any) -> tuple[np.ndarray, np.ndarray]:
    truth, predicted = _labels(y_true, "y_true"), _labels(y_pred, "y_pred")
    rule = f"as long as y_true ({len(truth)})"
    require(len(predicted) == len(truth), "y_pred", rule, len(predicted))
    return truth, predicted


def _against(y_true: Any, y_pred: Any, positive: int) -> tuple[np.ndarray, np.ndarray]:
    """One class against all others, as two boolean vectors (m,)."""
    truth, predicted = _paired(y_true, y_pred)
    return truth == positive, predicted == positive


def _cross_entropy(y_true: Any, logits: Any) -> np.ndarray:
    """Cross-entropy per case, -log softmax(logits)[y]: (m,), (m, C) -> (m,)."""
    truth, values = _labels(y_true, "y_true"), np.asarray(logits, dtype=np.float64)
    shape_ok = values.ndim == 2 and values.shape[0] == len(truth) and values.shape[1] >= 2
    require(shape_ok, "logits", f"of shape ({len(truth)}, C >= 2)", values.shape)
    classes = values.shape[1]
    in_range = bool((truth >= 0).all() and (truth < classes).all())
    require(in_range, "y_true", f"between 0 and {classes - 1}", sorted({int(c) for c in truth}))
    return logsumexp(values, axis=1) - values[np.arange(len(truth)), truth]
