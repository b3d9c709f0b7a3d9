"""How much of the federated gain each method keeps."""

from __future__ import annotations

from collections.abc import Sequence

from eval.metrics.gain import KEYS
from eval.results.records import Row
from eval.results.style import (
    NO_ATTACK,
    ROOT_ONLY,
    attack_label,
    attack_names,
    headline_fraction,
    headline_words,
)
from eval.tables.averages import mean, methods
from eval.tables.sheet import DASH, Sheet, percent
from eval.tables.success import MOST_COLUMNS

KEPT, LOW, HIGH, UNTOLD = KEYS
# Headings in a table of cells.
GAINED = ("Gain retained", "95 % interval")
GAIN_NOTE = (
    "Gain retained: (AUC less that of root only) / (AUC of FedAvg without attack less that of root "
    "only). 100% keeps all that federation adds to the validators' public rows, 0% nothing of it; "
    "it is told where FedAvg gains at least 1 point. The interval resamples the test cases."
)


def gain_sheet(rows: Sequence[Row]) -> Sheet:
    """The gain retained without attack and under each at the headline fraction, a line a method,
    or a column where there are many attacks. No lines where no row tells it."""
    fraction = headline_fraction(rows)
    names = [NO_ATTACK, *attack_names(rows)]
    title = f"Federated gain retained, {headline_words(rows)} malicious"
    labels, lines = [], []
    for name, label in methods(rows):
        values = [mean(rows, KEPT, name, attack, fraction) for attack in names]
        clean = [row for row in rows if row["defence"] == name and row["attack"] == NO_ATTACK]
        between = interval(clean[0]) if len(clean) == 1 else DASH
        labels.append(label)
        lines.append([percent(values[0]), between, *map(percent, values[1:])])
    across = [attack_label(NO_ATTACK), GAINED[1], *map(attack_label, names[1:])]
    corner = "Method"
    if len(names) > MOST_COLUMNS > len(labels):
        corner, labels, across = "Attack", across, labels
        lines = [list(column) for column in zip(*lines, strict=True)]
    body = [[label, *line] for label, line in zip(labels, lines, strict=True)]
    known = any(row.get(KEPT) is not None for row in rows)
    return Sheet(title, [corner, *across], body if known else [], gain_note(rows))


def interval(row: Row) -> str:
    """A row's interval in percent: "81 to 104"; "–" where there is none."""
    low, high = row.get(LOW), row.get(HIGH)
    if low is None or high is None:
        return DASH
    return f"{100 * low:.0f} to {100 * high:.0f}".replace("-", "−")


def gain_note(rows: Sequence[Row]) -> str:
    """What the gain retained is, and why some of it is not told; empty where no row knows it."""
    told = [row for row in rows if UNTOLD in row and row["defence"] != ROOT_ONLY]
    if not told:
        return ""
    reasons = dict.fromkeys(str(row[UNTOLD]) for row in told if row[UNTOLD] is not None)
    return " ".join([GAIN_NOTE, *(f"Not told: {reason}." for reason in reasons)])
