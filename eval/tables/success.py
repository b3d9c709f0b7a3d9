"""What attacks achieve: success over the clean model, and accuracy lost."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eval.results.records import BY_CLASS, Row
from eval.results.style import (
    NO_ATTACK,
    attack_label,
    attack_names,
    headline_fraction,
    headline_words,
)
from eval.tables.averages import mean, methods, subtract
from eval.tables.sheet import Sheet, percent, points

# Attacks in columns, up to this many; more of them become lines.
MOST_COLUMNS = 7


def attack_sheet(rows: Sequence[Row]) -> Sheet:
    """Attack success over the clean base at the headline fraction, by method and attack."""
    return _by_attack(
        rows,
        "Attack success over the clean model",
        "Percentage points above the rate of the clean model of the same method; lower is better. "
        f"{calibration_note(rows)}, so an attack that only shifts the threshold gains nothing, and "
        "below zero the attacked model does better than the clean one. Untargeted attacks: share "
        "of cases that turn from right to wrong, also where as many turn back; D_r is the balance.",
        lambda name, attack, fraction: mean(rows, "attack_success_excess", name, attack, fraction),
    )


def calibration_note(rows: Sequence[Row]) -> str:
    """How models are calibrated, without a full stop."""
    if any(row.get(BY_CLASS) for row in rows):
        return "Every model names each class as often as it occurs among the validators' root rows"
    return "Every model answers positively as often as the validators' root rows are positive"


def degradation_sheet(rows: Sequence[Row]) -> Sheet:
    """Accuracy that each attack costs, D_r = A_c - A_a, at the headline fraction."""
    return _by_attack(
        rows,
        "Accuracy lost under attack, D_r",
        "D_r = clean accuracy less accuracy under attack, in percentage points (section 4.2 of the "
        "paper); lower is better, below zero the attacked model is the more accurate one.",
        lambda name, attack, fraction: subtract(
            mean(rows, "accuracy", name, NO_ATTACK),
            mean(rows, "accuracy", name, attack, fraction),
        ),
    )


def even_odds_sheet(rows: Sequence[Row]) -> Sheet:
    """How many positive cases each model finds where nothing is set on public rows."""
    found = "positive cases"
    if any(row.get(BY_CLASS) for row in rows):
        found = "each class's cases, mean over the classes,"
    return _by_attack(
        rows,
        "Recall at even odds",
        f"Share of {found} that a model finds where its likeliest answer counts, without the "
        "calibration that all other tables have: what an attack does that only shifts the "
        "threshold, and what a calibration undoes.",
        lambda name, attack, fraction: mean(
            rows, "recall_at_even_odds", name, attack, None if attack == NO_ATTACK else fraction
        ),
        calm=True,
    )


def _by_attack(
    rows: Sequence[Row],
    title: str,
    note: str,
    measure: Callable[[str, str, float | None], float | None],
    calm: bool = False,
) -> Sheet:
    """A line a defence and a column an attack, or, where so many columns would not fit, the other
    way round.

    Args:
        rows: of a run.
        title, note: of the sheet.
        measure: of a method, an attack and the headline fraction: a difference in percentage
            points, which is shaded.
        calm: the measure is a share, the run without attack is the first column, nothing is shaded.
    """
    fraction = headline_fraction(rows)
    attacks = attack_names(rows)
    names = [*([NO_ATTACK] if calm and attacks else []), *attacks]
    labels, values = [], []
    for name, label in methods(rows):
        line = [measure(name, attack, fraction) for attack in names]
        if any(value is not None for value in line):
            labels.append(label)
            values.append(line)
    title = f"{title}, {headline_words(rows)} malicious"
    across = [attack_label(name) for name in names]
    corner = "Method"
    if values and len(across) > MOST_COLUMNS > len(labels):
        corner, labels, across = "Attack", across, labels
        values = [list(column) for column in zip(*values, strict=True)]
    written = percent if calm else points
    body = [[label, *map(written, line)] for label, line in zip(labels, values, strict=True)]
    if calm:
        return Sheet(title, [corner, *across], body, note)
    heat = [[min(max(value or 0.0, 0.0), 1.0) for value in line] for line in values]
    return Sheet(title, [corner, *across], body, note, heat)
