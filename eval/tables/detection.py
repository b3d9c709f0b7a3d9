"""How well each method names those that attack."""

from __future__ import annotations

from collections.abc import Sequence

from eval.metrics.detection import KEYS
from eval.results.records import Row
from eval.results.style import attack_names, headline_fraction, headline_words
from eval.tables.averages import average, mean, methods
from eval.tables.sheet import Sheet, percent

# Headings of the three measures (`eval.metrics.detection`).
NAMED = ("Naming precision", "Naming recall", "Honest named")
DETECTION_NOTE = (
    "A hospital is named in a round where the rule rejected its update, where it was refused at "
    "the door, or while it is suspended. Naming precision: of those named, the share of malicious "
    "ones; recall: of malicious ones, the share named; honest named: of honest ones."
)


def detection_sheet(rows: Sequence[Row]) -> Sheet:
    """Means over the attacks at the headline fraction, a line a method; "–" for one that names
    nobody ever. No lines where no method of the run names anybody."""
    fraction = headline_fraction(rows)
    body = []
    for name, label in methods(rows):
        values = [
            average([mean(rows, key, name, attack, fraction) for attack in attack_names(rows)])
            for key in KEYS
        ]
        body.append([label, *map(percent, values)])
    title = f"Attackers named, {headline_words(rows)} malicious"
    known = any(row.get(key) is not None for row in rows for key in KEYS)
    note = f"Means over the attacks. {DETECTION_NOTE}"
    return Sheet(title, ["Method", *NAMED], body if known and attack_names(rows) else [], note)
