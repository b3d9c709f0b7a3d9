"""Tables of a comparison of runs: a sheet a measure, a line a method in each circumstance."""

from __future__ import annotations

import math
from collections import Counter

from eval.results.comparison import MEASURES, Comparison, Line, is_share
from eval.results.paired import TESTS
from eval.tables.sheet import DASH, Sheet, decimals, percent, points


def measure_title(measure: str) -> str:
    """A measure for people."""
    plain = measure.replace("_", " ")
    return MEASURES.get(measure, plain[:1].upper() + plain[1:])


def comparison_sheets(found: Comparison) -> list[Sheet]:
    """A sheet a measure."""
    return [_sheet(found, measure) for measure in found.measures]


def _sheet(found: Comparison, measure: str) -> Sheet:
    level = f"{100 * found.confidence:g} %"
    header = ["Circumstance", "Method", "Seeds", "Mean", f"{level} interval"]
    others = len(found.methods) > 1
    if others:
        header += ["Difference", f"{level} interval", "p"]
    body = []
    before = ""
    for line in found.lines:
        if line.measure != measure:
            continue
        shown = line.circumstance if line.circumstance != before else ""
        before = line.circumstance
        mean = _number(measure, line.mean)
        row = [shown, line.method, str(len(line.values)), mean, _span(measure, line.low, line.high)]
        body.append(row + (_difference(measure, line) if others else []))
    return Sheet(measure_title(measure), header, body)


def _number(measure: str, value: float) -> str:
    return percent(value) if is_share(measure) else decimals(value)


def _gap(measure: str, value: float) -> str:
    return points(value) if is_share(measure) else f"{value:+.3f}".replace("-", "−")


def _span(measure: str, low: float, high: float) -> str:
    if math.isnan(low):
        return DASH
    return f"{_number(measure, low)} to {_number(measure, high)}"


def _difference(measure: str, line: Line) -> list[str]:
    gap = line.difference
    if gap is None or not gap.seeds:
        return [DASH, DASH, DASH]
    span = DASH
    if not math.isnan(gap.low):
        span = f"{_gap(measure, gap.low)} to {_gap(measure, gap.high)}"
    return [_gap(measure, gap.mean), span, DASH if gap.p is None else _p(gap.p)]


def _p(value: float) -> str:
    return "<0.001" if value < 0.001 else f"{value:.3f}"


def comparison_notes(found: Comparison) -> list[str]:
    """What the tables' figures are, and where a test would say nothing."""
    notes = [
        f"Means over seeds with their {100 * found.confidence:g} % intervals (Student). Seeds draw "
        "who is malicious, batches and initial models: intervals and tests say nothing of other "
        "patients."
    ]
    if len(found.methods) > 1:
        test = TESTS[found.test]
        supposes = "about normal" if found.test == "t" else "symmetric"
        notes.append(
            f"Differences are to {found.against}, over the seeds that both have, within one "
            f"circumstance. p: {test}, two-sided, after Holm over the tests of a measure (at most "
            f"{found.tests}). It supposes {supposes} differences, which few seeds cannot show."
        )
        if found.test == "wilcoxon":
            notes.append("With 5 seeds its p is never below 0.063, however large the difference.")
    reasons = Counter(line.difference.reason for line in found.lines if line.difference)
    notes += [f"No test of {n} lines: {why}." for why, n in reasons.items() if why]
    if found.refused:
        runs = "; ".join(f"{run}: {reason}" for run, reason in found.refused)
        notes.append(f"Without figures: {runs}.")
    return notes
