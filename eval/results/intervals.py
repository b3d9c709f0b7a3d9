"""Confidence intervals of a mean over seeds."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy import stats

from secure_fl.errors import require

METHODS = ("t", "bootstrap")
RESAMPLES = 10_000
# What names of measures from 0 to 1 begin with.
_SHARES = ("accuracy", "auc", "precision", "recall", "f1", "attack_", "detection_", "honest_named")


def interval(
    values: Sequence[float], confidence: float = 0.95, method: str = "t"
) -> tuple[float, float, float]:
    """Mean of independent values with a two-sided confidence interval: (mean, low, high).

    Args:
        values: one a seed. Of one value the interval is NaN, of none the mean too.
        confidence: between 0 and 1.
        method: "t": mean -+ t s / sqrt(n), Student's t with n - 1 degrees of freedom; "bootstrap":
            percentiles of the means of 10,000 resamples, always the same ones.

    Raises:
        InputError: no such method, or a confidence out of range.
    """
    require(method in METHODS, "method", f"one of {', '.join(METHODS)}", method)
    require(0 < confidence < 1, "confidence", "between 0 and 1", confidence)
    if len(values) < 2:
        return (float(values[0]) if len(values) else math.nan), math.nan, math.nan
    x = np.asarray(values, dtype=np.float64)
    mean, rest = float(x.mean()), (1 - confidence) / 2
    if method == "t":
        half = float(stats.t.ppf(1 - rest, len(x) - 1) * x.std(ddof=1) / math.sqrt(len(x)))
        return mean, mean - half, mean + half
    drawn = np.random.default_rng(0).integers(len(x), size=(RESAMPLES, len(x)))
    low, high = np.quantile(x[drawn].mean(axis=1), [rest, 1 - rest])
    return mean, float(low), float(high)


def range_of(measure: str) -> tuple[float, float]:
    """Between which values a measure of a row lies: shares from 0 to 1, an attack's success over
    the base rate from -1 to 1, others anywhere."""
    if measure.endswith("_excess"):
        return -1.0, 1.0
    return (0.0, 1.0) if measure.startswith(_SHARES) else (-math.inf, math.inf)


def within(
    found: tuple[float, float, float], bounds: tuple[float, float]
) -> tuple[float, float, float]:
    """An interval (mean, low, high) cut at the ends of a measure's range, beyond which its mean
    cannot be: it covers as often as before. Student's, of few seeds, knows of no range."""
    mean, low, high = found
    return mean, max(low, bounds[0]), min(high, bounds[1])
