"""Rows of the paper's cells: what follows from several of them, and means over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from eval.jobs.gains import add_gains
from eval.metrics.success import robustness_degradation
from eval.results.intervals import interval
from eval.results.style import ALONE, NO_ATTACK, Look, looks
from eval.tables.sheet import DASH

Row = dict[str, Any]
Measure = Callable[[Mapping[str, Any]], float | None]

# Columns of `table2.json`, in order.
COLUMNS = (
    *("data", "method", "attack", "malicious", "seed", "clean_accuracy", "auc"),
    *("attack_success", "base_rate", "detection_precision", "detection_recall", "gain_retained"),
)
# Columns of `defence.json`: the same on a task, and whom the method named among the honest.
JUDGED = ("task", *COLUMNS, "honest_named", "label", "root_rows")
# What costs and gains are told beside.
FEDAVG = "fedavg"
# Methods as tables and figures list them; others come after.
ORDER = (FEDAVG, "secure_aggregation", "robust", "paper", "guarded", "distilled")


def compared(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows with what they are beside others of the same data and seed, among the rows.

    - `degradation`: accuracy of the method's clean run less the row's own, D_r; None of the former.
    - `gain_retained`: see `eval.metrics.gain`; None where it is not told.
    """
    idle = [row for row in rows if row["attack"] == NO_ATTACK]
    clean = {(row["data"], row["seed"], row["defence"]): row["accuracy"] for row in idle}
    made = []
    for row in add_gains(rows, ("data", "seed")):
        before = clean.get((row["data"], row["seed"], row["defence"]))
        lost = None
        if row["attack"] != NO_ATTACK and before is not None:
            lost = robustness_degradation(before, row["accuracy"])
        made.append({"gain_retained": None} | row | {"degradation": lost})
    return made


def published(rows: Iterable[Mapping[str, Any]]) -> list[Row]:
    """Rows as `table2.json` has them, from rows that were `compared`."""
    return [
        {
            "data": row["data"],
            "method": row["defence"],
            "attack": row["attack"],
            "malicious": row["malicious"],
            "seed": row["seed"],
            "clean_accuracy": row["accuracy"],
            "auc": row["auc"],
            "attack_success": row["attack_success_raw"],
            "base_rate": row["attack_success_base"],
            "detection_precision": row["detection_precision"],
            "detection_recall": row["detection_recall"],
            "gain_retained": row["gain_retained"],
        }
        for row in rows
    ]


def judged(rows: Sequence[Mapping[str, Any]]) -> list[Row]:
    """Rows as `defence.json` has them, compared within their task."""
    made = []
    for task in distinct(rows, "task"):
        own = compared([row for row in rows if row["task"] == task])
        for row, told in zip(own, published(own), strict=True):
            further = {key: row[key] for key in ("honest_named", "label", "root_rows")}
            made.append({"task": task} | told | further)
    return made


def values(rows: Iterable[Mapping[str, Any]], measure: str | Measure, **where: Any) -> list[float]:
    """A measure of the rows that have it and that are as `where` says."""
    taken = (row for row in rows if all(row[key] == value for key, value in where.items()))
    found = (row.get(measure) if isinstance(measure, str) else measure(row) for row in taken)
    return [float(value) for value in found if value is not None]


def over_clean(row: Mapping[str, Any]) -> float | None:
    """Attack success of a published row less its base rate; None without an attack."""
    raw, base = row["attack_success"], row["base_rate"]
    return None if raw is None or base is None else float(raw) - float(base)


def mean_text(
    found: Sequence[float], sign: bool = False, scale: float = 100, digits: int = 1
) -> str:
    """Mean over seeds with the half-width of its 95 % interval (Student's t): "82.8 ±0.6"."""
    if not found:
        return DASH
    mean, low, _ = interval(found)
    text = f"{scale * mean:{'+' if sign else ''}.{digits}f}".replace("-", "−")
    if float(text.replace("−", "-")) == 0:
        text = text.lstrip("+−")
    return text if math.isnan(low) else f"{text} ±{scale * (mean - low):.{digits}f}"


def distinct(rows: Iterable[Mapping[str, Any]], key: str) -> list[Any]:
    """Values of a column in order of first appearance."""
    return list(dict.fromkeys(row[key] for row in rows))


def attacks_of(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Names of attacks in order of first appearance, without "none"."""
    return [name for name in distinct(rows, "attack") if name != NO_ATTACK]


def in_order(rows: Iterable[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Rows by method, in the order of `ORDER`."""
    places = {name: place for place, name in enumerate(ORDER)}
    return sorted(rows, key=lambda row: places.get(row["defence"], len(places)))


def looks_of(rows: Iterable[Mapping[str, Any]]) -> list[Look]:
    """How each method is drawn: alike in all figures, whichever methods are in them."""
    listed = list(rows)
    shown = {row["defence"] for row in listed}
    every = [*({"defence": name} for name in ORDER if name not in shown), *listed]
    return [look for look in looks(in_order(every)) if look.name in shown]


def methods_of(rows: Iterable[Mapping[str, Any]], alone: bool = False) -> list[tuple[str, str]]:
    """Name and label of each method in order; those without hospitals last, if asked for."""
    named = {row["defence"]: str(row["label"]) for row in in_order(rows)}
    last = [(name, named.pop(name)) for name in ALONE if name in named]
    return [*named.items(), *(last if alone else [])]
