"""A matrix of attacks and rules, averaged over seeds."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from eval.results.style import NO_ATTACK, attack_label
from secure_fl.errors import InputError, require
from secure_fl.settings.schema import malicious_count

Row = Mapping[str, Any]


class Measure(NamedTuple):
    """One figure of a cell.

    Attributes:
        key: in a sweep's rows.
        title: for people.
        worst: "highest" or "lowest": which end harms; empty for none.
    """

    key: str
    title: str
    worst: str


PRECISION = Measure("detection_precision", "Detection precision", "")
MEASURES = (
    Measure("accuracy", "Accuracy", "lowest"),
    Measure("attack_success_excess", "Attack success over the clean base rate", "highest"),
    PRECISION,
    Measure("detection_recall", "Detection recall", ""),
)


@dataclass(frozen=True)
class Matrix:
    """Means over seeds.

    Attributes:
        rules, attacks: names in the order asked for; the first attack is "none".
        values: float64 (rules, attacks) by a measure's key, NaN where there is none.
        refused: why a cell could not be run, by (rule, attack).
        seeds: how many.
        malicious: share of hospitals that are malicious.
    """

    rules: list[str]
    attacks: list[str]
    values: dict[str, np.ndarray]
    refused: dict[tuple[str, str], str]
    seeds: int
    malicious: float

    @property
    def averaged(self) -> str:
        """What each figure is: a mean of so many seeds, or one seed's."""
        return "1 seed" if self.seeds == 1 else f"mean of {self.seeds} seeds"

    def worst(self, measure: Measure) -> dict[str, str]:
        """The attack that harms each rule most by a measure.

        Rules without figures are left out, and those that all attacks harm alike.
        """
        found = {}
        for rule, line in zip(self.rules, self.values[measure.key], strict=True):
            attacked = [
                (value, attack)
                for attack, value in zip(self.attacks, line.tolist(), strict=True)
                if attack != NO_ATTACK and not np.isnan(value)
            ]
            if measure.worst and len({value for value, _ in attacked}) > 1:
                pick = max if measure.worst == "highest" else min
                found[rule] = pick(attacked, key=lambda each: each[0])[1]
        return found

    def alike(self, measure: Measure, rule: str) -> tuple[float, list[str]]:
        """What all attacks come to that were run, where they harm a rule alike, and which they are;
        NaN elsewhere."""
        line = zip(self.attacks, self.values[measure.key][self.rules.index(rule)], strict=True)
        ran = {name: float(v) for name, v in line if name != NO_ATTACK and not np.isnan(v)}
        found = set(ran.values())
        return (found.pop() if len(found) == 1 else float("nan")), list(ran)

    def value(self, measure: str, rule: str, attack: str) -> float:
        """One mean, NaN where there is none."""
        return float(self.values[measure][self.rules.index(rule), self.attacks.index(attack)])

    def mean_named(self, measure: Measure, rule: str) -> float:
        """Mean detection precision or recall of a rule over attacks, NaN where nobody was named.

        The precision is of the attacks under which somebody was named; the recall of all that were
        run: where a rule without verdicts named nobody, it named none of the attackers.
        """
        row = self.rules.index(rule)
        ran = ~np.isnan(self.values["accuracy"][row])
        ran &= [attack != NO_ATTACK for attack in self.attacks]
        found = self.values[measure.key][row, ran]
        if np.isnan(found).all():
            return float("nan")
        return float(np.nanmean(found) if measure is PRECISION else np.nan_to_num(found).mean())


WORST_HEADER = [
    *("Rule", "Clean", "Lowest", "Under", "Success", "Of", "Precision", "Recall"),
]


# Columns of words; the others are numbers.
WORDS = ("Rule", "Under", "Of")


def worst_lines(matrix: Matrix) -> list[list[str]]:
    """A line a rule: accuracy without attack and at worst, the attack that succeeds most, and how
    well it names attackers; in percent, "–" where there is no figure."""
    accuracy, excess, precision, recall = MEASURES
    lowest, highest = matrix.worst(accuracy), matrix.worst(excess)

    def told(measure: Measure, rule: str, attack: str | None) -> str:
        if attack is None:
            return percent(matrix.alike(measure, rule)[0])
        return percent(matrix.value(measure.key, rule, attack))

    def under(measure: Measure, rule: str, found: Mapping[str, str]) -> str:
        if rule in found:
            return attack_label(found[rule])
        value, ran = matrix.alike(measure, rule)
        if np.isnan(value):
            return "–"
        return attack_label(ran[0]) if len(ran) == 1 else "all alike"

    return [
        [
            rule,
            told(accuracy, rule, NO_ATTACK),
            told(accuracy, rule, lowest.get(rule)),
            under(accuracy, rule, lowest),
            told(excess, rule, highest.get(rule)),
            under(excess, rule, highest),
            percent(matrix.mean_named(precision, rule)),
            percent(matrix.mean_named(recall, rule)),
        ]
        for rule in matrix.rules
    ]


def percent(value: float) -> str:
    """A share in percent with one decimal; "–" for NaN."""
    return "–" if np.isnan(value) else f"{100 * value:.1f}"


_KEPT = ("rule", "attack", "malicious", "seeds", *(each.key for each in MEASURES), "refused")


def to_csv(matrix: Matrix) -> str:
    """A line a cell: its means to six decimals, empty where there is none, or why it was refused.

    `from_csv` reads it back.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow(_KEPT)
    for rule in matrix.rules:
        for attack in matrix.attacks:
            found = [matrix.value(each.key, rule, attack) for each in MEASURES]
            figures = ["" if np.isnan(value) else f"{value:.6f}" for value in found]
            refused = matrix.refused.get((rule, attack), "")
            lines.writerow([rule, attack, matrix.malicious, matrix.seeds, *figures, refused])
    return text.getvalue()


def from_csv(text: str) -> Matrix:
    """A matrix out of `to_csv`.

    Raises:
        InputError: other columns, no lines, or something that is no number.
    """
    reader = csv.DictReader(io.StringIO(text))
    columns = tuple(reader.fieldnames or ())
    require(columns == _KEPT, "columns of a matrix", ", ".join(_KEPT), ", ".join(columns))
    rows: list[dict[str, Any]] = []
    try:
        for line in reader:
            row: dict[str, Any] = {"defence": line["rule"], "attack": line["attack"], "seed": 0}
            row["malicious"], seeds = float(line["malicious"]), int(line["seeds"])
            row |= {each.key: float(line[each.key]) for each in MEASURES if line[each.key]}
            rows.append(row | ({"refused": line["refused"]} if line["refused"] else {}))
    except (TypeError, ValueError) as error:
        raise InputError(f"line {len(rows) + 2} of a matrix must hold numbers: {error}") from error
    require(len(rows) > 0, "a matrix", "at least one cell", "none")
    return replace(averaged(rows), seeds=seeds)


def joined(matrices: Sequence[Matrix]) -> Matrix:
    """One matrix of several, each cell from the first that has it; rules and attacks by name.

    Raises:
        InputError: they are of other shares of malicious hospitals, or of other numbers of seeds.
    """
    first = matrices[0]
    for each in matrices[1:]:
        same = (each.seeds, each.malicious) == (first.seeds, first.malicious)
        rule = f"of {first.seeds} seeds and {first.malicious} malicious, as the first"
        require(same, "a matrix", rule, f"{each.seeds} and {each.malicious}")
    rules = sorted({rule for each in matrices for rule in each.rules})
    attacks = sorted(
        {attack for each in matrices for attack in each.attacks},
        key=lambda name: (name != NO_ATTACK, name),
    )
    values = {measure.key: np.full((len(rules), len(attacks)), np.nan) for measure in MEASURES}
    refused: dict[tuple[str, str], str] = {}
    for i, j in np.ndindex(len(rules), len(attacks)):
        cell = rules[i], attacks[j]
        for matrix in matrices:
            if cell[0] in matrix.rules and cell[1] in matrix.attacks:
                for measure in MEASURES:
                    values[measure.key][i, j] = matrix.value(measure.key, *cell)
                refused |= {cell: matrix.refused[cell]} if cell in matrix.refused else {}
                break
    return replace(first, rules=rules, attacks=attacks, values=values, refused=refused)


def averaged(rows: Sequence[Row]) -> Matrix:
    """Average rows of a matrix (`eval.jobs.matrix`) over their seeds."""
    rules = list(dict.fromkeys(row["defence"] for row in rows))
    named = list(dict.fromkeys(row["attack"] for row in rows))
    attacks = sorted(named, key=lambda name: name != NO_ATTACK)  # a stable sort
    cells: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        cells.setdefault((row["defence"], row["attack"]), []).append(row)
    values = {
        measure.key: np.array(
            [
                [_mean(cells.get((rule, attack), ()), measure.key) for attack in attacks]
                for rule in rules
            ]
        )
        for measure in MEASURES
    }
    refused = {
        cell: listed[0]["refused"]
        for cell, listed in cells.items()
        if all("refused" in row for row in listed)
    }
    shares = [_share(row) for row in rows if row["malicious"] > 0]
    return Matrix(
        rules,
        attacks,
        values,
        refused,
        len({row["seed"] for row in rows}),
        max(shares, default=0.0),
    )


def _share(row: Row) -> float:
    """The share that is malicious; of rows that do not say how many are, what was asked for."""
    if row.get("hospitals") is None:
        return float(row["malicious"])
    return malicious_count(row["malicious"], int(row["hospitals"])) / int(row["hospitals"])


def _mean(rows: Sequence[Row], key: str) -> float:
    found = [float(row[key]) for row in rows if row.get(key) is not None]
    return float(np.mean(found)) if found else float("nan")
