"""A federation in memory on which a sweep takes a second, and such a sweep."""

from __future__ import annotations

from typing import Any

import numpy as np

from secure_fl.federation import Federation

SWEEP: dict[str, Any] = {
    "attacks": ["label_flip"],
    "defences": ["fedavg", "median"],
    "seeds": [0, 1],
    "rounds": 1,
    "malicious": 0.25,
    "train": {"epochs": 1, "lr": 0.02},
}


def rows(count: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Random rows of five features, with three classes that follow from them."""
    x = np.random.default_rng(seed).random((count, 5))
    return x, x[:, :3].argmax(axis=1)


def made() -> Federation:
    """Four hospitals, one validator."""
    hospitals = [rows(60, i) for i in range(4)]
    return Federation.from_arrays(hospitals, rows(40, 10), [rows(30, 20)], rows(90, 30))
