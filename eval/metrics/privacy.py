"""How much an attack on privacy learned."""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.optimize import linear_sum_assignment

from secure_fl.errors import require


def reconstruction_error(found: Any, real: Any, guess: Any) -> float:
    """Squared distance of real rows from the reconstructed ones, as a share of a guess's.

    Each real row is matched with a reconstructed one of its own, at the least total distance. 0 is
    exact, 1 no better than the guess.

    Args:
        found: rows (k, ...), at least as many as there are real ones.
        real: rows (m, ...).
        guess: one row (...), what anybody would say.
    """
    rows, truth = (np.asarray(each, dtype=np.float64) for each in (found, real))
    require(len(rows) >= len(truth) > 0, "found", f"at least {len(truth)} rows", len(rows))
    rows, truth = rows.reshape(len(rows), -1), truth.reshape(len(truth), -1)
    away = ((truth[:, None] - rows[None]) ** 2).sum(axis=2)
    missed = float(away[linear_sum_assignment(away)].sum())
    base = float(((truth - np.asarray(guess, dtype=np.float64).reshape(1, -1)) ** 2).sum())
    require(base > 0, "real", "rows that the guess does not meet already", "none")
    return missed / base


def true_positives_at(members: Any, others: Any, rate: float) -> float:
    """Largest share of members that a threshold names while it names at most `rate` of the others.

    Args:
        members: scores (m,), the higher the more of a member.
        others: scores (k,) of rows that were not trained on.
        rate: allowed share of false positives, in [0, 1].
    """
    inside, outside = (np.asarray(each, dtype=np.float64) for each in (members, others))
    require(len(inside) > 0 < len(outside), "scores", "of at least one row each", "none")
    allowed = int(rate * len(outside))
    if allowed >= len(outside):
        return 1.0
    threshold = np.sort(outside)[::-1][allowed]
    return float(np.mean(inside > threshold))
