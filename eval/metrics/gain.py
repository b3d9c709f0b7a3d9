"""How much of what a federation adds to the public root alone a defence keeps.

Federated gain retained = (defended - root only) / (clean FedAvg - root only), in AUC: of two
classes that of class 1, of more the mean over the classes, each against the rest. 1 keeps all that
FedAvg without attack gains, 0 is as good as the root alone, below 0 worse.

The interval is a bootstrap over the test cases (Efron, 1979), paired: all three models are measured
on the same resampled cases. Cases are drawn within their class, so that no resample lacks one.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from scipy.stats import rankdata

from eval.metrics.calibration import log_odds
from eval.metrics.checks import labels, scored
from eval.metrics.quality import one_against_rest
from secure_fl.errors import require

# Least gain of clean FedAvg over root only, in AUC, of which shares are told: 1 point. A share of
# less is a ratio of noise.
LEAST_GAIN = 0.01
LITTLE = "clean FedAvg gains less than 1 point of AUC over root only"
UNSURE = "no interval: in too many resamples clean FedAvg gains nothing over root only"
# Entries of the tables that are held at once while resampled.
_BLOCK = 2**22


class ResampledAUC(NamedTuple):
    """AUC of one model on the test cases, and on each resample of them, float64 (B,)."""

    value: float
    resampled: np.ndarray


class GainRetained(NamedTuple):
    """The share of the federated gain that a model keeps.

    Attributes:
        value: None where it is not told.
        low, high: of the interval; None where there is none.
        untold: why the value or the interval is not told; None where both are.
    """

    value: float | None
    low: float | None
    high: float | None
    untold: str | None


# Keys of a row that hold a `GainRetained`, in its order.
KEYS = ("gain_retained", "gain_retained_low", "gain_retained_high", "gain_retained_untold")


def resample(y_true: Any, resamples: int, rng: np.random.Generator) -> np.ndarray:
    """How often each case is drawn in each resample, int32 (resamples, m).

    Args:
        y_true: labels (m,). Of each class as many cases are drawn, with replacement, as it has.
            Cases with any number of labels, (m, L) of 0 and 1, are drawn all alike.
        resamples: number B, at least 1.
        rng: source of randomness.
    """
    several = np.ndim(y_true) == 2
    truth = np.zeros(len(y_true), dtype=np.int64) if several else labels(y_true, "y_true")
    require(resamples >= 1, "resamples", ">= 1", resamples)
    counts = np.zeros((resamples, len(truth)), dtype=np.int32)
    for label in np.unique(truth):
        cases = np.flatnonzero(truth == label)
        for row in range(resamples):
            drawn = rng.integers(len(cases), size=len(cases))
            counts[row, cases] = np.bincount(drawn, minlength=len(cases))
    return counts


def resampled_auc(y_true: Any, logits: Any, counts: np.ndarray) -> ResampledAUC:
    """AUC of a model's logits (m, C), each class against the rest, and of its resamples.

    Args:
        y_true: labels (m,), of which every class of 0 to C - 1 must occur; or several a case,
            (m, C) of 0 and 1, each of which some must have and some not. A resample that lacks
            such a label is measured by the others.
        logits: (m, C).
        counts: from `resample`, (B, m).

    Raises:
        InputError: arguments of different lengths, or a class without a case.
    """
    values, truth = scored(logits), np.asarray(y_true)
    require(len(values) == len(truth), "logits", f"of {len(truth)} rows", len(values))
    fits = counts.ndim == 2 and counts.shape[1] == len(truth)
    require(fits, "counts", f"of {len(truth)} columns", counts.shape)
    every = np.concatenate([np.ones((1, len(truth)), dtype=counts.dtype), counts])
    means = np.nanmean([_weighted_auc(*each, every) for each in _questions(truth, values)], axis=0)
    return ResampledAUC(float(means[0]), means[1:])


def _questions(truth: np.ndarray, values: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Which cases are positive, bool (m,), and their scores, for each class or label."""
    classes = values.shape[1]
    if truth.ndim == 2:
        require(truth.shape == values.shape, "y_true", f"of shape {values.shape}", truth.shape)
        absent = [c for c in range(classes) if len(np.unique(truth[:, c])) != 2]
        require(not absent, "y_true", "of each label cases with and without it", absent)
        yield from zip(truth.T == 1, values.T, strict=True)
        return
    known = set(labels(truth, "y_true").tolist())
    absent = sorted(set(range(classes)) - known)
    require(not absent, "y_true", f"a case of each of {classes} classes", f"none of {absent}")
    if classes == 2:
        yield truth == 1, log_odds(values)
        return
    for label in range(classes):
        yield truth == label, one_against_rest(values, label)


def _weighted_auc(positive: np.ndarray, scores: np.ndarray, counts: np.ndarray) -> np.ndarray:
    """AUC (B,) of scores (m,) where case i counts `counts[b, i]` times; ties count one half.

    NaN where no positive case is counted, or no other.
    """
    place = rankdata(scores, method="dense") - 1  # of equal scores the same
    order = np.argsort(place, kind="stable")
    starts = np.flatnonzero(np.diff(place[order], prepend=-1))
    first = positive[order].astype(np.float64)
    step = max(1, _BLOCK // len(scores))
    found = []
    for begin in range(0, len(counts), step):
        drawn = counts[begin : begin + step, order].astype(np.float64)
        above = np.add.reduceat(drawn * first, starts, axis=1)  # (b, distinct scores)
        below = np.add.reduceat(drawn * (1 - first), starts, axis=1)
        beaten = np.cumsum(below, axis=1) - below / 2
        pairs = above.sum(axis=1) * below.sum(axis=1)
        found.append((above * beaten).sum(axis=1) / np.where(pairs > 0, pairs, np.nan))
    return np.concatenate(found)


def gain_retained(
    defended: ResampledAUC,
    root_only: ResampledAUC,
    clean: ResampledAUC,
    confidence: float = 0.95,
) -> GainRetained:
    """(defended - root only) / (clean FedAvg - root only), with a percentile interval.

    A resample in which clean FedAvg gains nothing has no finite share. It counts at both ends, as
    minus and as plus infinity, so that the interval grows wider by it; where it reaches an end
    there is no interval.

    Args:
        defended: of the model in question.
        root_only: of the model that was trained on the validators' public rows alone.
        clean: of FedAvg's model without attack.
        confidence: of the interval, between 0 and 1.

    Raises:
        InputError: resamples of different numbers, or a confidence out of range.
    """
    require(0 < confidence < 1, "confidence", "between 0 and 1", confidence)
    shapes = {each.resampled.shape for each in (defended, root_only, clean)}
    require(len(shapes) == 1, "resamples", "as many for all three models", sorted(shapes))
    gain = clean.value - root_only.value
    if gain < LEAST_GAIN:
        return GainRetained(None, None, None, LITTLE)
    value = (defended.value - root_only.value) / gain
    gains = clean.resampled - root_only.resampled
    positive = gains > 0
    kept = (defended.resampled - root_only.resampled) / np.where(positive, gains, 1.0)
    rest = (1 - confidence) / 2
    # Of the values that there are: between them and infinity nothing can be interpolated.
    low = float(np.quantile(np.where(positive, kept, -np.inf), rest, method="inverted_cdf"))
    high = float(np.quantile(np.where(positive, kept, np.inf), 1 - rest, method="inverted_cdf"))
    if not np.isfinite([low, high]).all():
        return GainRetained(value, None, None, UNSURE)
    return GainRetained(value, low, high, None)
