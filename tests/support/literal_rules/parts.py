"""What literal rules are made of: loops over Python floats."""

from __future__ import annotations

from fractions import Fraction

import numpy as np


def norm(row: np.ndarray) -> float:
    return float(np.sqrt(sum(float(v) ** 2 for v in row)))


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = norm(a) * norm(b)
    return (
        0.0
        if lengths == 0
        else sum(float(p) * float(q) for p, q in zip(a, b, strict=True)) / lengths
    )


def clip(row: np.ndarray, bound: float) -> np.ndarray:
    length = norm(row)
    return row * (bound / length) if length > bound else row


def median_of(values: list[float]) -> float:
    ordered = sorted(values)
    m = len(ordered)
    return ordered[m // 2] if m % 2 else (ordered[m // 2 - 1] + ordered[m // 2]) / 2


def medians(x: np.ndarray) -> np.ndarray:
    return np.array([median_of([float(v) for v in column]) for column in x.T])


def floor_share(beta: float, m: int) -> int:
    return int(Fraction(str(beta)) * m)  # beta as written, not as the nearest binary number


def average(x: np.ndarray, weights: list[float], dim: int) -> np.ndarray:
    if not len(x):
        return np.zeros(dim)
    if max(weights) <= 2**-15:
        weights = [1.0] * len(x)
    return sum(w * row for w, row in zip(weights, x, strict=True)) / sum(weights)
