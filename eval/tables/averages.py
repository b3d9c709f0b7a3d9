"""Means over a run's rows: a measure of one method, or of one method under one attack."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from eval.results.records import Row
from eval.results.style import ALONE, NO_ATTACK, defence_label, looks


def methods(rows: Sequence[Row], alone: bool = False) -> list[tuple[str, str]]:
    """Name and label of each defence in order; of those without hospitals last, if asked for."""
    named = [(look.name, look.label) for look in looks(rows)]
    if alone:
        labels = {str(row["defence"]): defence_label(row) for row in rows}
        named += [(name, labels[name]) for name in ALONE if name in labels]
    return named


def mean(
    rows: Sequence[Row], key: str, defence: str, attack: str, fraction: float | None = None
) -> float | None:
    """Mean of a measure over the matching cells (one per seed)."""
    return average(
        [
            row.get(key)
            for row in rows
            if row["defence"] == defence
            and row["attack"] == attack
            and (attack == NO_ATTACK or fraction is None or row["malicious_fraction"] == fraction)
        ]
    )


def average(values: Iterable[float | None]) -> float | None:
    """Mean of the values that there are; None of none."""
    known = [float(value) for value in values if value is not None]
    return sum(known) / len(known) if known else None


def per_round(rows: Sequence[Row], key: str) -> float | None:
    """Total of a measure over the cells, divided by the rounds that they ran."""
    counted = [row for row in rows if row.get(key) is not None and row.get("rounds_run")]
    rounds = sum(int(row["rounds_run"]) for row in counted)
    return sum(float(row[key]) for row in counted) / rounds if rounds else None


def subtract(first: float | None, second: float | None) -> float | None:
    """`first - second`; None where either is missing."""
    return None if first is None or second is None else first - second
