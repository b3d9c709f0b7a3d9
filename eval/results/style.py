"""Names, order and colours that tables and figures share."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from eval.results.records import Row
from secure_fl.settings.schema import malicious_count

ROOT_ONLY = "root_only"
PUBLIC_ONLY = "public_only"
# Methods that listen to no hospital: none of an attack's hospitals reaches them, and none is run.
ALONE = (ROOT_ONLY, PUBLIC_ONLY)
NO_ATTACK = "none"

# Okabe and Ito (2008): eight colours told apart with every common colour blindness. Yellow is
# left out, too faint for lines on white; markers and dashes repeat the distinction in grey.
_LOOKS = (
    ("#D55E00", "o", "-"),
    ("#E69F00", "s", (0, (2.5, 2.5))),
    ("#CC79A7", "^", (0, (1, 1))),
    ("#0072B2", "D", "-"),
    ("#009E73", "P", "-"),
    ("#56B4E9", "v", (0, (3, 1, 1, 1))),
    ("#7F7F7F", "X", "-"),
)

HONEST_COLOUR = "#0072B2"
MALICIOUS_COLOUR = "#D55E00"


class Look(NamedTuple):
    """How one defence is named and drawn."""

    name: str
    label: str
    colour: str
    marker: str
    dashes: str | tuple[int, tuple[float, ...]]


# Names that the field writes in its own way, whole or by their words.
_WRITTEN = {
    NO_ATTACK: "No attack",
    "inf_nan": "Inf/NaN",
    "min_max": "Min-Max",
    "min_sum": "Min-Sum",
    "bc_layers": "BC-layers",
    "fang_krum": "Fang-Krum",
    "fang_trim": "Fang-trim",
}
_ABBREVIATED = {
    **{word: word.upper() for word in ("a3fl", "alie", "dba", "ipm", "mpaf", "pgd")},
    "poisonedfl": "PoisonedFL",
}


def attack_label(name: str) -> str:
    """Name of an attack for people: "label_flip" -> "Label flip", "optimal_ipm" -> "Optimal IPM".

    One of somebody's own, "module:name", goes by its name.
    """
    if name in _WRITTEN:
        return _WRITTEN[name]
    words = name.rsplit(":", 1)[-1].split("_")
    plain = " ".join(_ABBREVIATED.get(word, word) for word in words)
    return plain[:1].upper() + plain[1:]


def defence_label(row: Row) -> str:
    """Name of a defence for people: the row's own label, else its name without underscores."""
    label = row.get("label")
    if label:
        return str(label)
    plain = str(row["defence"]).replace("_", " ")
    return plain[:1].upper() + plain[1:]


def looks(rows: Iterable[Row]) -> list[Look]:
    """One look for each federated defence, in order of first appearance; who is alone has none."""
    first: dict[str, Row] = {}
    for row in rows:
        if row["defence"] not in ALONE:
            first.setdefault(str(row["defence"]), row)
    chosen = []
    for index, (name, row) in enumerate(first.items()):
        colour, marker, dashes = _LOOKS[index % len(_LOOKS)]
        chosen.append(Look(name, defence_label(row), colour, marker, dashes))
    return chosen


def method_looks(names: Iterable[str]) -> list[Look]:
    """One look for each name of a method, in their order."""
    return [Look(name, name, *_LOOKS[index % len(_LOOKS)]) for index, name in enumerate(names)]


def attack_names(rows: Iterable[Row]) -> list[str]:
    """Attacks in order of first appearance, without "none"."""
    return [name for name in dict.fromkeys(str(row["attack"]) for row in rows) if name != NO_ATTACK]


def fractions(rows: Iterable[Row]) -> list[float]:
    """Malicious fractions under attack, ascending."""
    return sorted({float(r["malicious_fraction"]) for r in rows if r["attack"] != NO_ATTACK})


def malicious_words(share: float, hospitals: int | None) -> str:
    """A share of malicious hospitals for people: "30 %", or how many there are where that is
    another share: "1 of 6".

    Args:
        share: that was asked for.
        hospitals: how many there are; None where nothing says.
    """
    if hospitals:
        count = malicious_count(share, hospitals)
        if not math.isclose(count, share * hospitals):
            return f"{count} of {hospitals}"
    return f"{round(100 * share, 3):g} %"


def headline_words(rows: Sequence[Row]) -> str:
    """The share of `headline_fraction` in titles: "30 % of hospitals", "1 of 6 hospitals"."""
    fraction = headline_fraction(rows) or 0.0
    counts = [r.get("hospitals") for r in rows if r["malicious_fraction"] == fraction]
    told = malicious_words(fraction, next(iter(counts), None))
    return f"{told} hospitals" if " of " in told else f"{told} of hospitals"


def headline_fraction(rows: Iterable[Row]) -> float | None:
    """Fraction that tables and bars show: the one most attacked cells share, then the larger."""
    attacked = [float(r["malicious_fraction"]) for r in rows if r["attack"] != NO_ATTACK]
    if not attacked:
        return None
    return max(set(attacked), key=lambda value: (attacked.count(value), value))
