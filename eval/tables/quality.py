"""Quality without attack, and what is said about it."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eval.results import participation
from eval.results.records import BY_CLASS, Row
from eval.results.style import NO_ATTACK, PUBLIC_ONLY, ROOT_ONLY
from eval.tables.averages import mean, methods, subtract
from eval.tables.sheet import DASH, Sheet, decimals, percent, points
from secure_fl.hospital.privacy import DELTA


def quality_sheet(rows: Sequence[Row]) -> Sheet:
    """Quality without attack, one line a defence, those without hospitals last."""
    measures = ("accuracy", "precision", "recall", "f1", "auc")
    root = mean(rows, "accuracy", ROOT_ONLY, NO_ATTACK)
    header = ["Method", "Accuracy", "Precision", "Recall", "F1", "AUC"]
    if root is not None:
        header.append("Gain over root only")
    body = []
    for name, label in methods(rows, alone=True):
        values = [mean(rows, measure, name, NO_ATTACK) for measure in measures]
        if all(value is None for value in values):
            continue
        line = [label, *(percent(value) for value in values[:-1]), decimals(values[-1])]
        if root is not None:
            own = name == ROOT_ONLY or values[0] is None
            line.append(DASH if own else points(subtract(values[0], root)))
        body.append(line)
    alone = "Root only: the validators' root rows alone, no hospital. Gain in percentage points."
    if mean(rows, "accuracy", PUBLIC_ONLY, NO_ATTACK) is not None:
        alone += " Public rows only: the root's and those that judge, tuned as distilled."
    notes = [
        "" if root is None else alone,
        averages_note(rows),
        privacy_note(rows),
        repeatable_note(rows),
        participation.note(rows),
    ]
    return Sheet("Quality without attack", header, body, " ".join(note for note in notes if note))


def averages_note(rows: Sequence[Row]) -> str:
    """What precision, recall, F1 and AUC are of more than two classes; empty for two."""
    if not any(row.get(BY_CLASS) for row in rows):
        return ""
    return "Precision, recall, F1 and AUC (each class against the rest) are means over the classes."


def class_sheet(rows: Sequence[Row]) -> Sheet | None:
    """F1 of each class without attack, one line a defence; None of two classes."""
    clean = {str(r["defence"]): r for r in rows if r["attack"] == NO_ATTACK and r.get(BY_CLASS)}
    names = list(dict.fromkeys(name for row in clean.values() for name in row[BY_CLASS]))
    if not names:
        return None
    body = []
    for name, label in methods(rows, alone=True):
        if name in clean:
            own = clean[name][BY_CLASS]
            body.append([label, *(percent(own.get(each, {}).get("f1")) for each in names)])
    return Sheet("F1 of each class without attack", ["Method", *names], body)


def privacy_note(rows: Sequence[Row]) -> str:
    """The largest budgets that hospitals' noise spends in any cell; empty without noise."""
    noisy = [row for row in rows if row.get("noise_sigma") and row.get("rounds_run")]
    if not noisy:
        return ""
    spent = max(math.inf if row.get("epsilon") is None else row["epsilon"] for row in noisy)
    rounds = max(int(row["rounds_run"]) for row in noisy)
    shown = "infinite" if math.isinf(spent) else f"{spent:.3g}"
    note = (
        f"Privacy: epsilon {shown} at delta {DELTA:g} after {rounds} rounds, for all rows of one "
        "hospital together, against whoever sees its noisy updates."
    )
    means: dict[str, float] = {}
    for row in noisy:
        if row.get("epsilon_aggregate") is not None:
            label = str(row.get("label") or row["defence"])
            means[label] = max(means.get(label, 0.0), float(row["epsilon_aggregate"]))
    if means:
        listed = ", ".join(f"{value:.3g} under {label}" for label, value in means.items())
        note += (
            f" Against those who see no more than the opened means: {listed}, by the noise of "
            "honest hospitals alone."
        )
    return note


def repeatable_note(rows: Sequence[Row]) -> str:
    """That secrets followed from the public seed, if they did."""
    if not any(row.get("repeatable_secrets") for row in rows):
        return ""
    return "Repeatable secrets: shares, keys and noise follow from the seed and protect nothing."
