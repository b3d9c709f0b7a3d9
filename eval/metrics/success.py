"""How far an attack got."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np

from eval.metrics.checks import paired
from secure_fl.errors import InputError, require

OBJECTIVES = ("none", "untargeted", "label_flip", "backdoor")


class AttackSuccess(NamedTuple):
    """How far an attack got: attacked model, clean model, and the difference (may be negative)."""

    raw: float
    base: float
    excess: float


def label_flip_success(y_true: Any, y_pred: Any, source_class: int, target_class: int) -> float:
    """Share of the source-class cases that are classified as the class they were flipped to."""
    require(source_class != target_class, "target_class", "not source_class", target_class)
    truth, predicted = paired(y_true, y_pred)
    source = truth == source_class
    require(bool(source.any()), "y_true", f"at least one case of class {source_class}", "none")
    return float(np.mean(predicted[source] == target_class))


def backdoor_success(
    y_true: Any, y_pred_triggered: Any, target_class: int, source_class: int | None = None
) -> float:
    """Share of cases of other classes that the trigger sends to the target class.

    Args:
        y_true: labels (m,).
        y_pred_triggered: predictions (m,) on the same cases with the trigger applied.
        target_class: what they are to be called.
        source_class: the one class that the trigger is for; None: all but the target.
    """
    truth, predicted = paired(y_true, y_pred_triggered)
    other = truth != target_class if source_class is None else truth == source_class
    wanted = f"not of class {target_class}" if source_class is None else f"of class {source_class}"
    require(bool(other.any()), "y_true", f"at least one case {wanted}", "none")
    return float(np.mean(predicted[other] == target_class))


def untargeted_success(y_true: Any, y_pred_clean: Any, y_pred_attacked: Any) -> float:
    """Share of all cases that the clean model gets right and the attacked one wrong.

    Meaningful where both models were trained with the same random numbers: otherwise retraining
    alone moves some cases.
    """
    truth, clean = paired(y_true, y_pred_clean)
    _, attacked = paired(y_true, y_pred_attacked)
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
        source_class: class whose labels the attacker changes; of a backdoor, the class that its
            trigger is for, or None for all.
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
        raw = backdoor_success(y_true, y_pred_attacked, target, source_class)
        base = backdoor_success(y_true, y_pred_clean, target, source_class)
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


def _given(value: int | None, name: str, objective: str) -> int:
    """Return `value`, or refuse its absence."""
    if value is None:
        raise InputError(f"{name} must be given for objective {objective}; got None")
    return value
