"""What an oracle returns."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Outcome:
    """What a rule should return, up to `error` in each coordinate."""

    update: np.ndarray
    accepted: np.ndarray
    margin: float = float("inf")
    flags: dict[str, np.ndarray] = field(default_factory=dict)
    error: float = 1e-12
