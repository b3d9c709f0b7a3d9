"""Any set of runs side by side: means over seeds, and differences to one method in equal seeds.

What is compared are *methods* (defence, and every setting of training, model or defence that
differs) within *circumstances* (data, attack, share of malicious hospitals). A difference is only
taken within one of these: across other data, seeds have nothing in common but a number.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from eval.results.entries import Entry, measures_of
from eval.results.intervals import interval, range_of, within
from eval.results.paired import TESTS, Paired, holm, paired
from eval.results.style import NO_ATTACK, attack_label, malicious_words
from secure_fl.errors import InputError, near, require

# Shown unless others are asked for, where a run has them.
MEASURES: Mapping[str, str] = {
    "accuracy": "Accuracy",
    "auc": "AUC",
    "gain_retained": "Federated gain retained",
    "attack_success_excess": "Attack success over the clean base rate",
    "detection_precision": "Detection precision",
    "detection_recall": "Detection recall",
}
# What names of shares begin with: they are told in percent, and their differences in points.
_SHARES = ("accuracy", "precision", "recall", "f1", "threshold", "attack_", "detection_", "gain_")


# Settings that say which runs there can be, and do not change one that there is, unless so few
# hospitals take part that a round is left out: a rule with others is no other method by itself.
_DOORS = {"defence.minimum_hospitals", "defence.colluders", "defence.reference"}


def is_share(measure: str) -> bool:
    """Whether a measure is told in percent."""
    return measure.startswith(_SHARES)


@dataclass(frozen=True)
class Line:
    """One method in one circumstance, by one measure.

    Attributes:
        measure, circumstance, method: which.
        values: by seed.
        mean, low, high: over the seeds with their Student interval, cut at the ends of the
            measure's range; NaN where there is none.
        difference: to the reference method over the same seeds, p after Holm; None for itself, and
            where it has no figure.
    """

    measure: str
    circumstance: str
    method: str
    values: Mapping[int, float]
    mean: float
    low: float
    high: float
    difference: Paired | None = None


@dataclass(frozen=True)
class Comparison:
    """What a set of runs tells.

    Attributes:
        measures, circumstances, methods: names, in order of first appearance.
        against: the method that others are compared with.
        lines: one for each of them that has a figure.
        refused: runs without figures, with the reason.
        confidence, test: of intervals and differences.
    """

    measures: tuple[str, ...]
    circumstances: tuple[str, ...]
    methods: tuple[str, ...]
    against: str
    lines: tuple[Line, ...]
    refused: tuple[tuple[str, str], ...]
    confidence: float
    test: str

    @property
    def tests(self) -> int:
        """How many tests a measure has at most."""
        counts = [
            sum(
                line.difference is not None and line.difference.p is not None
                for line in self.lines
                if line.measure == measure
            )
            for measure in self.measures
        ]
        return max(counts, default=0)


def compare(
    entries: Sequence[Entry],
    measures: Sequence[str] | None = None,
    against: str | None = None,
    confidence: float = 0.95,
    test: str = "t",
) -> Comparison:
    """Average over seeds and compare in pairs.

    Args:
        entries: runs (`eval.results.entries.read_entries`), of any number of folders.
        measures: figures to compare; None: those of `MEASURES` that there are.
        against: the method that others are compared with, as the table names it; None: the first.
        confidence: of the intervals, between 0 and 1.
        test: see `eval.results.paired.paired`.

    Raises:
        InputError: no runs with figures, a measure or method that there is not, or the same run
            twice in one folder.
    """
    require(test in TESTS, "test", f"one of {', '.join(TESTS)}", test)
    told = [entry for entry in entries if not entry.refused]
    known = measures_of(told)
    if measures is None:
        measures = [key for key in MEASURES if key in known]
    for measure in measures:
        _one_of("measure", measure, known)
    require(bool(measures), "RUN", "folders with a figure to compare", len(entries))
    named = _named(told)
    circumstances = tuple(dict.fromkeys(circumstance for circumstance, _ in named))
    methods = tuple(dict.fromkeys(method for _, method in named))
    against = methods[0] if against is None else against
    _one_of("against", against, methods)
    lines: list[Line] = []
    for measure in measures:
        lines += _lines(named, measure, circumstances, methods, against, confidence, test)
    refused = tuple(
        (f"{e.defence}, {_circumstance(e, ())}, seed {e.seed}", e.refused)
        for e in entries
        if e.refused
    )
    return Comparison(
        tuple(measures), circumstances, methods, against, tuple(lines), refused, confidence, test
    )


_Named = Mapping[tuple[str, str], Mapping[int, Entry]]


def _one_of(name: str, value: str, known: Sequence[str]) -> None:
    if value not in known:
        listed = "; ".join(known)
        raise InputError(f"{name} must be one of: {listed}; got {value!r}{near(value, known)}")


def _lines(
    named: _Named,
    measure: str,
    circumstances: Sequence[str],
    methods: Sequence[str],
    against: str,
    confidence: float,
    test: str,
) -> list[Line]:
    """All lines of a measure, their p values held together."""
    lines = []
    for circumstance in circumstances:
        first = _values(named.get((circumstance, against), {}), measure)
        for method in methods:
            values = _values(named.get((circumstance, method), {}), measure)
            if not values:
                continue
            listed = [values[seed] for seed in sorted(values)]
            mean = within(interval(listed, confidence), range_of(measure))
            gap = paired(first, values, confidence, test) if first and method != against else None
            lines.append(Line(measure, circumstance, method, values, *mean, gap))
    tested = [
        line for line in lines if line.difference is not None and line.difference.p is not None
    ]
    adjusted = holm([line.difference.p for line in tested])  # type: ignore[union-attr, misc]
    held = dict(zip(map(id, tested), adjusted, strict=True))
    return [
        replace(line, difference=line.difference._replace(p=held[id(line)]))
        if line.difference is not None and id(line) in held
        else line
        for line in lines
    ]


def _values(entries: Mapping[int, Entry], measure: str) -> dict[int, float]:
    found = ((seed, entry.measures.get(measure)) for seed, entry in entries.items())
    return {seed: float(value) for seed, value in found if value is not None}


def _named(entries: Sequence[Entry]) -> dict[tuple[str, str], dict[int, Entry]]:
    """Runs by circumstance, method and seed; the folder tells those apart that settings do not, and
    then settings of `_DOORS`.

    Raises:
        InputError: the same run twice in one folder.
    """
    common = [key for key in _differing(entries) if not key.startswith(("defence.", "attack."))]
    by_defence = _own(entries, "defence.", lambda entry: entry.defence)
    by_attack = _own(entries, "attack.", lambda entry: entry.attack)
    around = [key for key in common if key.startswith("data.")]
    beside = [key for key in common if not key.startswith("data.")]
    hashes = len({entry.data for entry in entries}) > 1

    def names(entry: Entry, folder: bool, doors: bool = False) -> tuple[str, str]:
        circumstance = _circumstance(entry, [*around, *by_attack.get(entry.attack, ())])
        if hashes:
            circumstance += f", data {entry.data[:8] or 'unknown'}"
        own = [k for k in by_defence.get(entry.defence, ()) if doors or k not in _DOORS]
        method = _told(entry.defence, entry, [*beside, *own])
        return circumstance, f"{method}, {entry.folder}" if folder else method

    for doors, folder in product((False, True), repeat=2):
        named: dict[tuple[str, str], dict[int, Entry]] = {}
        twice = [
            entry
            for entry in entries
            if named.setdefault(names(entry, folder, doors), {}).setdefault(entry.seed, entry)
            is not entry
        ]
        if not twice:
            return named
    one = twice[0]
    raise InputError(
        f"{one.folder} must hold a run once; it holds {', '.join(names(one, False))}, seed "
        f"{one.seed} twice"
    )


def _differing(entries: Sequence[Entry]) -> list[str]:
    """Settings that differ between runs; one that is not told is no difference."""
    seen: dict[str, set[str]] = {}
    for entry in entries:
        for key, value in entry.settings.items():
            seen.setdefault(key, set()).add(value)
    return [key for key, values in seen.items() if len(values) > 1]


def _own(
    entries: Sequence[Entry], prefix: str, name: Callable[[Entry], str]
) -> dict[str, list[str]]:
    """Settings with this prefix that differ between the runs of one name."""
    of: dict[str, list[Entry]] = {}
    for entry in entries:
        of.setdefault(name(entry), []).append(entry)
    return {
        each: [key for key in _differing(listed) if key.startswith(prefix)]
        for each, listed in of.items()
    }


def _circumstance(entry: Entry, keys: Sequence[str]) -> str:
    hospitals = entry.settings.get("data.hospitals", "")
    share = malicious_words(entry.malicious, int(hospitals) if hospitals.isdecimal() else None)
    told = "" if entry.attack == NO_ATTACK else f", {share} malicious"
    return _told(f"{attack_label(entry.attack)}{told}", entry, keys)


def _told(name: str, entry: Entry, keys: Sequence[str]) -> str:
    """A name with settings behind it."""
    return ", ".join([name, *(f"{key}={entry.settings.get(key, '?')}" for key in keys)])


def as_json(found: Comparison) -> dict[str, Any]:
    """A comparison as data; null where there is no figure."""

    def number(value: float | None) -> float | None:
        return None if value is None or value != value else value

    lines = []
    for line in found.lines:
        gap = line.difference
        lines.append(
            {
                "measure": line.measure,
                "circumstance": line.circumstance,
                "method": line.method,
                "values": {str(seed): line.values[seed] for seed in sorted(line.values)},
                "mean": number(line.mean),
                "low": number(line.low),
                "high": number(line.high),
                "difference": None
                if gap is None
                else {
                    key: number(value) if isinstance(value, float) else value
                    for key, value in gap._asdict().items()
                },
            }
        )
    return {
        "against": found.against,
        "confidence": found.confidence,
        "test": TESTS[found.test],
        "adjusted": "Holm, over the tests of a measure",
        "lines": lines,
        "refused": [{"run": run, "reason": reason} for run, reason in found.refused],
    }
