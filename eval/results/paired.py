"""Differences between two methods over the same seeds, and whether chance would give them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from scipy import stats

from eval.results.intervals import interval
from secure_fl.errors import require

# What each test is called, by its name in settings.
TESTS = {"t": "paired t-test", "wilcoxon": "Wilcoxon's signed-rank test"}


class Paired(NamedTuple):
    """A difference over the seeds that two methods have in common.

    Attributes:
        seeds: how many.
        mean, low, high: of the differences, with their Student interval; NaN where there is none.
        p: two-sided, of the test that no difference is there; None where it would say nothing.
        reason: why there is none; empty where there is.
    """

    seeds: int
    mean: float
    low: float
    high: float
    p: float | None
    reason: str = ""


def paired(
    first: Mapping[int, float],
    second: Mapping[int, float],
    confidence: float = 0.95,
    test: str = "t",
) -> Paired:
    """Second less first, seed by seed.

    Args:
        first, second: a figure by seed; seeds that one of them lacks are left out.
        confidence: of the interval, between 0 and 1.
        test: "t": Student's, of the mean difference (`scipy.stats.ttest_rel`), which supposes
            about normal differences; "wilcoxon": of signed ranks (`scipy.stats.wilcoxon`), which
            supposes symmetric ones, and whose p is never below 2 / 2^seeds.

    Raises:
        InputError: no such test, or a confidence out of range.
    """
    require(test in TESTS, "test", f"one of {', '.join(TESTS)}", test)
    seeds = sorted(first.keys() & second.keys())
    gaps = np.array([second[seed] - first[seed] for seed in seeds], dtype=np.float64)
    mean, low, high = interval(gaps.tolist(), confidence)
    told = (len(seeds), mean, low, high)
    if len(seeds) < 2:
        return Paired(*told, None, f"{len(seeds) or 'no'} seed in common")
    # Rounding of sums apart, as differences of shares of the same test rows are.
    if float(np.ptp(gaps)) <= 1e-12:
        return Paired(*told, None, "the same difference in every seed")
    if test == "t":
        found = stats.ttest_rel([second[s] for s in seeds], [first[s] for s in seeds])
    else:
        found = stats.wilcoxon(gaps)
    return Paired(*told, float(found.pvalue))


def holm(values: Sequence[float]) -> list[float]:
    """p values of several tests together, each so much larger that the chance of any false
    rejection stays below the level.  Ref: Holm, Scandinavian Journal of Statistics 6, 1979.
    """
    adjusted = [math.nan] * len(values)
    largest = 0.0
    for place, index in enumerate(sorted(range(len(values)), key=values.__getitem__)):
        largest = max(largest, min(1.0, (len(values) - place) * values[index]))
        adjusted[index] = largest
    return adjusted
