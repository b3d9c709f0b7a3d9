"""How much an attack on privacy learned."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from scipy.optimize import linear_sum_assignment

from secure_fl.errors import require

RESAMPLES = 1000


class Estimate(NamedTuple):
    """A figure with its 95 % bootstrap interval."""

    value: float
    low: float
    high: float


class Told(NamedTuple):
    """How well members are told from others.

    Attributes:
        auc: of the scores, members against others.
        found: for each allowed rate of false positives, the largest share of members that a
            threshold names.
    """

    auc: Estimate
    found: tuple[Estimate, ...]


def row_errors(found: Any, real: Any, guess: Any) -> np.ndarray:
    """Squared distance of each real row from its reconstruction, as a share of a guess's: (m,).

    Each real row is matched with a reconstructed one of its own, at the least total distance. 0 is
    exact, 1 no better than the guess.

    Args:
        found: rows (k, ...), at least as many as there are real ones.
        real: rows (m, ...), none of which the guess meets already.
        guess: one row (...), what anybody would say.
    """
    rows, truth = (np.asarray(each, dtype=np.float64) for each in (found, real))
    require(len(rows) >= len(truth) > 0, "found", f"at least {len(truth)} rows", len(rows))
    rows, truth = rows.reshape(len(rows), -1), truth.reshape(len(truth), -1)
    away = ((truth[:, None] - rows[None]) ** 2).sum(axis=2)
    base = ((truth - np.asarray(guess, dtype=np.float64).reshape(1, -1)) ** 2).sum(axis=1)
    require(bool((base > 0).all()), "real", "rows that the guess does not meet already", "one")
    return away[linear_sum_assignment(away)] / base


def median_error(errors: Any) -> Estimate:
    """Median of the errors of independent rows (m,)."""
    values = np.asarray(errors, dtype=np.float64)
    drawn = np.median(values[_resamples(len(values))], axis=1)
    return Estimate(float(np.median(values)), *_middle(drawn))


def told(scores: Any, members: Any, clusters: Any, rates: Sequence[float]) -> Told:
    """Tell members by a threshold on their scores; the intervals resample whole clusters.

    Args:
        scores: (m,), the higher the more of a member.
        members: bool (m,), whether it is one.
        clusters: int (m,), whose row it is: scores under one hospital's update depend on each
            other, so hospitals are resampled and not rows.
        rates: allowed shares of false positives, each in [0, 1].
    """
    values = np.asarray(scores, dtype=np.float64)
    inside = np.asarray(members, dtype=bool)
    require(bool(inside.any() and not inside.all()), "members", "of both kinds", inside[:8])
    order = np.argsort(-values, kind="stable")
    values, inside = values[order], inside[order]
    _, owner = np.unique(np.asarray(clusters)[order], return_inverse=True)
    # A threshold names all rows of one score or none.
    ends = np.flatnonzero(np.append(values[1:] != values[:-1], True))
    whole = _measures(np.ones(len(values)), inside, ends, rates)
    count = int(owner.max()) + 1
    drawn = [
        _measures(np.bincount(chosen, minlength=count)[owner], inside, ends, rates)
        for chosen in _resamples(count)
    ]
    low, high = np.nanquantile(drawn, [0.025, 0.975], axis=0)
    auc, *found = (Estimate(*map(float, each)) for each in zip(whole, low, high, strict=True))
    return Told(auc, tuple(found))


def _measures(
    weight: np.ndarray, inside: np.ndarray, ends: np.ndarray, rates: Sequence[float]
) -> np.ndarray:
    """AUC and true positives at each rate, of sorted rows that count `weight` times each.

    NaN where no member or no other row was drawn.
    """
    right = np.concatenate([[0.0], np.cumsum(weight * inside)[ends]])
    wrong = np.concatenate([[0.0], np.cumsum(weight * ~inside)[ends]])
    if right[-1] == 0 or wrong[-1] == 0:
        return np.full(1 + len(rates), np.nan)
    right, wrong = right / right[-1], wrong / wrong[-1]
    best = [right[np.searchsorted(wrong, rate, side="right") - 1] for rate in rates]
    area = 0.5 * ((right[1:] + right[:-1]) * np.diff(wrong)).sum()
    return np.array([area, *best])


def _resamples(count: int) -> np.ndarray:
    """The same draws (RESAMPLES, count) with replacement each time."""
    return np.random.default_rng(0).integers(count, size=(RESAMPLES, count))


def _middle(drawn: np.ndarray) -> tuple[float, float]:
    low, high = np.quantile(drawn, [0.025, 0.975])
    return float(low), float(high)
