"""What NumPy says of operations, and the few programs that entries share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from secure_fl.aggregation.ops import Ops, Secret, Updates

M, D = 6, 70  # rows; coordinates, more than a word holds
Program = Callable[[Ops, Updates], Secret | Updates]
Oracle = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Operation:
    """One operation.

    Attributes:
        program: from operations and rows (M, D) to what it returns.
        oracle: the same on float64 rows.
        error: of the integers against the oracle, at the most.
    """

    program: Program
    oracle: Oracle
    error: float = 0.0


def _vector(seed: int) -> np.ndarray:
    return np.round(np.random.default_rng(seed).uniform(-1, 1, D) * 2**16) / 2**16


G, CENTER = _vector(1), _vector(2)
WEIGHTS = np.array([1.0, 0.5, 0.25, 0.0, 0.125, 1.0])
FLAGS = np.array([1, 0, 1, 1, 0, 0], bool)
TORCH_G, TORCH_CENTER = torch.from_numpy(G), torch.from_numpy(CENTER)


def scores(ops: Ops, x: Updates) -> Secret:
    """Some numbers (m,) to compute with: squared norms."""
    return ops.squared_norms(x)


def squares(x: np.ndarray) -> np.ndarray:
    return (x**2).sum(1)


def distances(ops: Ops, x: Updates) -> Secret:
    """||x_i - x_j||^2, (m, m), from the Gram matrix alone."""
    gram = ops.gram(x)
    own = ops.diagonal(gram)
    m = x.shape[0]
    return ops.expand(own, 1, m) + ops.expand(own, 0, m) - gram * 2.0


def apart(x: np.ndarray) -> np.ndarray:
    return ((x[:, None] - x[None]) ** 2).sum(2)


def few(ops: Ops, x: Updates) -> Secret:
    """How many of three coordinates are negative, (m,)."""
    return ops.sum(ops.signs(ops.columns(x, range(3))), 1)


def lowest(a: np.ndarray, count: int) -> np.ndarray:
    """Which are the `count` smallest of the last axis; of equal ones the first."""
    rank = (a[..., None, :] < a[..., :, None]).sum(-1)
    ties = np.tril(np.ones((a.shape[-1],) * 2, bool), -1) & (a[..., None, :] == a[..., :, None])
    return rank + ties.sum(-1) < count


def nearest_to(x: np.ndarray, center: np.ndarray, keep: int) -> np.ndarray:
    """Which are the `keep` nearest; ties below the center first, then by row."""
    gap = np.abs(x - center)
    side = (x >= center).astype(int)
    rows = np.broadcast_to(np.arange(len(x))[:, None], x.shape)
    chosen = np.zeros(x.shape, bool)
    for j in range(x.shape[1]):
        chosen[np.lexsort((rows[:, j], side[:, j], gap[:, j]))[:keep], j] = True
    return chosen


def cosines(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    lengths = np.linalg.norm(x, axis=1)[:, None] * np.linalg.norm(y, axis=1)[None]
    return np.where(lengths > 0, x @ y.T / np.where(lengths > 0, lengths, 1), 0.0)


def off_diagonal(a: np.ndarray) -> np.ndarray:
    return a * (1 - np.eye(len(a)))


def clipped(x: np.ndarray, length: float) -> np.ndarray:
    lengths = np.maximum(np.linalg.norm(x, axis=1, keepdims=True), 1e-300)
    return x * np.minimum(1.0, length / lengths)


def middle(x: np.ndarray, trim: int) -> np.ndarray:
    order = np.argsort(x, axis=0, kind="stable")
    kept = np.zeros(x.shape, bool)
    np.put_along_axis(kept, order[trim : len(x) - trim], True, axis=0)
    return kept


def mean_nearest(x: np.ndarray, center: torch.Tensor | None, keep: int) -> np.ndarray:
    at = np.median(x, axis=0) if center is None else center.numpy()
    return (x * nearest_to(x, at, keep)).sum(0) / keep


def pair(ops: Ops, x: Updates) -> tuple[Secret, Secret]:
    """Two arrays of bits (m,): long ones, and ones that point along G."""
    return scores(ops, x) < 12.0, ops.cosine_at_least(x, TORCH_G, 0.0)


def bits_of(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return squares(x) < 12.0, x @ G >= 0


STEP, COSINE = 2.0**-16, 2.0**-20
