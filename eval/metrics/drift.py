"""How far a model moved, and in which round it jumped."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from eval.metrics.checks import finite
from secure_fl.errors import require


def model_drift(parameters: Any, reference: Any) -> float:
    """Relative distance ||w - w_ref|| / ||w_ref|| between two parameter vectors (d,)."""
    current, start = finite(parameters, "parameters"), finite(reference, "reference")
    require(current.shape == start.shape, "parameters", f"of shape {start.shape}", current.shape)
    length = float(np.linalg.norm(start))
    require(length > 0.0, "reference", "not the zero vector", length)
    return float(np.linalg.norm(current - start)) / length


def drift_alarms(drifts: Sequence[float], limit: float = 6.0, warm_up: int = 3) -> list[bool]:
    """Mark rounds whose drift stands out from the rounds before them.

    Round t is marked if its drift exceeds median + `limit` * MAD of the earlier drifts (MAD:
    median absolute deviation, at least 1 % of the median so that a steady run raises no alarm).
    The first `warm_up` rounds are never marked.
    """
    require(limit > 0, "limit", "> 0", limit)
    require(warm_up >= 1, "warm_up", ">= 1", warm_up)
    values = np.asarray(drifts, dtype=np.float64)
    alarms = [False] * len(values)
    for t in range(warm_up, len(values)):
        middle = float(np.median(values[:t]))
        spread = max(float(np.median(np.abs(values[:t] - middle))), 0.01 * middle)
        alarms[t] = bool(values[t] > middle + limit * spread)
    return alarms
