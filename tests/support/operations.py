"""Every operation of rules with a few random cases, and what NumPy says of it.

An entry is a program on operations, run alike in all worlds, and its oracle on the float rows. A
new operation must be entered here: `test_operations.py` compares the list with what `Ops` offers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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
OPERATIONS: dict[str, list[Operation]] = {
    # rows
    "rows": [Operation(lambda ops, x: ops.rows(x, [4, 0, 2]), lambda x: x[[4, 0, 2]])],
    "row": [Operation(lambda ops, x: ops.row(x, 3), lambda x: x[3])],
    "columns": [
        Operation(lambda ops, x: ops.columns(x, [69, 0, 5]), lambda x: x[:, [69, 0, 5]]),
        Operation(
            lambda ops, x: ops.squared_norms(ops.columns(x, list(range(9)))),
            lambda x: squares(x[:, :9]),
        ),
    ],
    "join": [Operation(lambda ops, x: ops.join([x, x]), lambda x: np.concatenate([x, x]))],
    "accumulate": [Operation(lambda ops, x: ops.accumulate(x, x), lambda x: 2 * x)],
    "difference": [
        Operation(
            lambda ops, x: ops.difference(ops.rows(x, [0, 1]), ops.rows(x, [3, 2])),
            lambda x: x[:2] - x[[3, 2]],
        )
    ],
    "group_means": [
        Operation(
            lambda ops, x, groups=groups: ops.group_means(x, groups),  # type: ignore[misc]
            lambda x, groups=groups: np.stack([x[group].mean(axis=0) for group in groups]),  # type: ignore[misc]
            2 * STEP,
        )
        for groups in ([[0, 3], [1, 5], [4, 2]], [[4, 1, 0], [2, 5]], [[3], [0]], [list(range(M))])
    ]
    + [
        Operation(
            lambda ops, x: ops.median(ops.group_means(ops.clip(x, 4.0), [[0, 5, 3], [2], [4, 1]])),
            lambda x: np.median(
                [clipped(x, 2)[list(g)].mean(0) for g in ((0, 5, 3), (2,), (4, 1))], 0
            ),
            4 * STEP,
        )
    ],
    "shift": [
        Operation(lambda ops, x: ops.shift(x, TORCH_CENTER), lambda x: x + CENTER),
        Operation(
            lambda ops, x: ops.squared_norms(ops.shift(x, -ops.median(x))),
            lambda x: squares(x - np.median(x, axis=0)),
        ),
    ],
    "combine": [
        Operation(
            lambda ops, x: ops.combine(x, ops.smallest(scores(ops, x), 2), rows=2),
            lambda x: lowest(squares(x), 2)[None] @ x,
        ),
        Operation(
            lambda ops, x: ops.combine(x, ops.smallest(distances(ops, x), 3) * (1 / 3), rows=3),
            lambda x: lowest(apart(x), 3) @ x / 3,
            4 * STEP,
        ),
        Operation(
            lambda ops, x: ops.combine(ops.clip(x, 4.0), ops.cosine(x, TORCH_G), rows=6),
            lambda x: cosines(x, G[None]).T @ clipped(x, 2.0),
            32 * STEP,
        ),
        # Rounded to steps of x: norms of what was combined are exact then.
        Operation(
            lambda ops, x: ops.combine(
                x, ops.smallest(distances(ops, x), 3) * (1 / 3), rows=3, most=1.01, rounded=True
            ),
            lambda x: lowest(apart(x), 3) @ x / 3,
            4 * STEP,
        ),
        Operation(
            lambda ops, x: ops.squared_norms(
                ops.combine(ops.clip(x, 4.0), ops.cosine(x, TORCH_G), rows=6, rounded=True)
            ),
            lambda x: squares(cosines(x, G[None]).T @ clipped(x, 2.0)),
            512 * STEP,
        ),
    ],
    # products
    "squared_norms": [Operation(scores, squares)],
    "gram": [Operation(lambda ops, x: ops.gram(x), lambda x: x @ x.T)],
    "cosine": [
        Operation(
            lambda ops, x: ops.cosine(x, TORCH_G), lambda x: cosines(x, G[None])[:, 0], COSINE
        ),
        Operation(
            lambda ops, x: ops.cosine(x, ops.median(x)),
            lambda x: cosines(x, np.median(x, axis=0)[None])[:, 0],
            COSINE,
        ),
    ],
    "pairwise_cosine": [
        Operation(
            lambda ops, x: ops.pairwise_cosine(x), lambda x: off_diagonal(cosines(x, x)), COSINE
        )
    ],
    "cosine_at_least": [
        Operation(
            lambda ops, x: ops.cosine_at_least(x, TORCH_G, 0.1),
            lambda x: cosines(x, G[None])[:, 0] >= 0.1,
        )
    ],
    "clip": [
        Operation(lambda ops, x: ops.clip(x, 4.0), lambda x: clipped(x, 2.0), 4 * STEP),
        Operation(
            lambda ops, x: ops.clip(x, ops.median_of(scores(ops, x)), 100.0),
            lambda x: clipped(x, float(np.median(squares(x)) ** 0.5)),
            4 * STEP,
        ),
    ],
    # coordinates
    "order_statistics": [
        Operation(lambda ops, x: ops.order_statistics(x, [1, 4])[1], lambda x: np.sort(x, 0)[4])
    ],
    "median": [Operation(lambda ops, x: ops.median(x), lambda x: np.median(x, axis=0))],
    "weighted_median": [
        Operation(
            lambda ops, x, w=w: ops.weighted_median(x, torch.tensor(w, dtype=torch.float64)),  # type: ignore[misc]
            lambda x, w=w: np.median(np.repeat(x, np.array(w), axis=0), axis=0),  # type: ignore[misc]
        )
        for w in ([64, 0, 32, 96, 1, 63], [1] * M, [0, 2, 0, 2, 0, 0], [0, 0, 5, 0, 0, 0])
    ],
    "trimmed_mask": [Operation(lambda ops, x: ops.trimmed_mask(x, 2), lambda x: middle(x, 2))],
    "mean_of_middle": [
        Operation(
            lambda ops, x, trim=trim: ops.mean_of_middle(x, trim),  # type: ignore[misc]
            lambda x, trim=trim: (x * middle(x, trim)).sum(0) / (M - 2 * trim),  # type: ignore[misc]
            STEP,
        )
        for trim in range((M + 1) // 2)
    ],
    "mean_of_nearest": [
        Operation(
            lambda ops, x, keep=keep, at=at: ops.mean_of_nearest(x, keep, at),  # type: ignore[misc]
            lambda x, keep=keep, at=at: mean_nearest(x, at, keep),  # type: ignore[misc]
            STEP,
        )
        for keep in range(1, M + 1)
        for at in (None, torch.zeros(D), TORCH_CENTER)
    ],
    "nearest": [
        # As far below as above, for many.
        Operation(
            lambda ops, x, keep=keep: ops.nearest(x, keep, torch.zeros(D)),  # type: ignore[misc]
            lambda x, keep=keep: nearest_to(x, np.zeros(D), keep),  # type: ignore[misc]
        )
        for keep in range(1, M + 1)
    ]
    + [
        Operation(
            lambda ops, x: ops.nearest(x, 4), lambda x: nearest_to(x, np.median(x, axis=0), 4)
        ),
        Operation(
            lambda ops, x: ops.nearest(x, 4, TORCH_CENTER), lambda x: nearest_to(x, CENTER, 4)
        ),
        Operation(
            lambda ops, x: ops.nearest(x, 2, ops.order_statistics(x, [0])[0]),
            lambda x: nearest_to(x, x.min(0), 2),
        ),
    ],
    "signs": [Operation(lambda ops, x: ops.signs(x), lambda x: x < 0)],
    "count_at_least": [
        Operation(
            lambda ops, x, count=count: ops.count_at_least(ops.signs(x), count),  # type: ignore[misc]
            lambda x, count=count: (x < 0).sum(0) >= count,  # type: ignore[misc]
        )
        for count in (1, 4, 6)
    ],
    "differ": [
        Operation(
            lambda ops, x: ops.differ(ops.signs(x), ops.count_at_least(ops.signs(x), 3)),
            lambda x: (x < 0) ^ ((x < 0).sum(0) >= 3),
        )
    ],
    "where": [
        Operation(
            lambda ops, x: ops.where(ops.signs(x), x, ops.median(x)),
            lambda x: np.where(x < 0, x, np.median(x, axis=0)),
        ),
        Operation(lambda ops, x: ops.where(ops.signs(x), x, None), lambda x: np.minimum(x, 0)),
    ],
    "weighted_mean": [
        Operation(
            lambda ops, x: ops.weighted_mean(x, torch.from_numpy(WEIGHTS)),
            lambda x: WEIGHTS @ x / WEIGHTS.sum(),
            2 * STEP,
        ),
        Operation(
            lambda ops, x: ops.weighted_mean(ops.clip(x, 4.0), torch.from_numpy(WEIGHTS)),
            lambda x: WEIGHTS @ clipped(x, 2.0) / WEIGHTS.sum(),
            4 * STEP,
        ),
        Operation(
            lambda ops, x: ops.weighted_mean(ops.clip(x, 4.0), torch.ones(M)),
            lambda x: clipped(x, 2.0).mean(0),
            4 * STEP,
        ),
    ],
    # small arrays
    "add": [
        Operation(lambda ops, x: ops.add(scores(ops, x), 0.5), lambda x: squares(x) + 0.5),
        Operation(
            lambda ops, x: 1.0 + scores(ops, x) + ops.row(ops.columns(x, range(M)), 0),
            lambda x: 1 + squares(x) + x[0, :M],
        ),
    ],
    "subtract": [
        Operation(lambda ops, x: ops.subtract(scores(ops, x), 2.5), lambda x: squares(x) - 2.5),
        Operation(lambda ops, x: 1.0 - scores(ops, x), lambda x: 1 - squares(x)),
        Operation(lambda ops, x: -scores(ops, x), lambda x: -squares(x)),
    ],
    "multiply": [
        Operation(
            lambda ops, x, by=by: ops.multiply(scores(ops, x), by),  # type: ignore[misc]
            lambda x, by=by: squares(x) * by,  # type: ignore[misc]
            abs(by) * 2.0**-10,
        )
        for by in (0.3, -2.25, 1e-9, 3e12, 0.5)
    ]
    + [
        Operation(
            lambda ops, x: scores(ops, x) * ops.cosine(x, TORCH_G) * pair(ops, x)[0],
            lambda x: squares(x) * cosines(x, G[None])[:, 0] * bits_of(x)[0],
            1e-3,
        ),
        # 2^48 steps twice: one product of both would wrap.
        Operation(
            lambda ops, x: scores(ops, x) * scores(ops, x) * scores(ops, x),
            lambda x: squares(x) ** 3,
            0.01,
        ),
        # The ranges alone would leave 2^-20 of 2^20; the bound keeps 40 bits.
        Operation(
            lambda ops, x: ops.multiply(
                scores(ops, x) * 0.001, ops.inverse_root(scores(ops, x), 2.0**-20), most=0.5
            ),
            lambda x: 0.001 * np.sqrt(squares(x)),
            2.0**-21,
        ),
    ],
    "sum": [
        Operation(lambda ops, x: ops.sum(scores(ops, x)), lambda x: squares(x).sum(keepdims=True)),
        Operation(lambda ops, x: ops.sum(ops.gram(x), 0), lambda x: (x @ x.T).sum(0)),
        Operation(
            lambda ops, x: ops.sum(ops.smallest(distances(ops, x), 2), 0),
            lambda x: lowest(apart(x), 2).sum(0),
        ),
    ],
    "take": [
        Operation(
            lambda ops, x: ops.take(scores(ops, x), torch.tensor([5, 0, 0])),
            lambda x: squares(x)[[5, 0, 0]],
        ),
        Operation(
            lambda ops, x: ops.take(distances(ops, x), torch.tensor([[1, 35], [M, 8]])),
            lambda x: apart(x).flatten()[[[1, 35], [M, 8]]],
        ),
        Operation(
            lambda ops, x: ops.take(ops.smallest(distances(ops, x), 2), torch.tensor([1, 4, 35])),
            lambda x: lowest(apart(x), 2).flatten()[[1, 4, 35]],
        ),
    ],
    "concatenate": [
        Operation(
            lambda ops, x: ops.concatenate(
                [scores(ops, x), ops.cosine(x, TORCH_G), pair(ops, x)[0]]
            ),
            lambda x: np.concatenate([squares(x), cosines(x, G[None])[:, 0], bits_of(x)[0]]),
            COSINE,
        )
    ],
    "diagonal": [Operation(lambda ops, x: ops.diagonal(ops.gram(x)), squares)],
    "expand": [
        Operation(
            lambda ops, x: ops.expand(scores(ops, x), 0, 3), lambda x: np.stack([squares(x)] * 3)
        ),
        Operation(distances, apart),
    ],
    "divide": [
        Operation(
            lambda ops, x, count=count: ops.divide(scores(ops, x), count),  # type: ignore[misc]
            lambda x, count=count: squares(x) / count,  # type: ignore[misc]
            2.0**-40,
        )
        for count in (1, 3, 20, 49)
    ],
    "rounded": [
        Operation(
            lambda ops, x, unit=unit: ops.rounded(scores(ops, x), unit),  # type: ignore[misc]
            squares,
            unit,
        )
        for unit in (2.0**-20, 2.0**-40)
    ],
    "inverse_root": [
        Operation(
            lambda ops, x, floor=floor: ops.inverse_root(scores(ops, x), floor),  # type: ignore[misc]
            lambda x, floor=floor: 1 / np.sqrt(np.maximum(squares(x), floor)),  # type: ignore[misc]
            2.0**-20 / floor**0.5,
        )
        for floor in (2.0**-20, 0.3, 10.0)
    ]
    + [
        Operation(
            lambda ops, x: ops.inverse_root(ops.median_of(scores(ops, x)), 2.0**-12),
            lambda x: np.array([1 / np.sqrt(np.median(squares(x)))]),
            2.0**-14,
        )
    ],
    "less": [
        Operation(lambda ops, x: scores(ops, x) < 12.0, lambda x: squares(x) < 12),
        Operation(lambda ops, x: scores(ops, x) > 12.0, lambda x: squares(x) > 12),
        Operation(lambda ops, x: scores(ops, x) >= 12.0, lambda x: squares(x) >= 12),
        Operation(
            lambda ops, x: scores(ops, x) <= ops.median_of(scores(ops, x)),
            lambda x: squares(x) <= np.median(squares(x)),
        ),
        Operation(
            lambda ops, x: scores(ops, x) > ops.median_of(scores(ops, x)),
            lambda x: squares(x) > np.median(squares(x)),
        ),
    ],
    "less_each": [
        Operation(
            lambda ops, x, limit=limit: (ops.row(x, 0) < limit) & (ops.row(x, 2) <= limit),  # type: ignore[misc]
            lambda x, limit=limit: (x[0] < limit) & (x[2] <= limit),  # type: ignore[misc]
        )
        # Between two steps, and at one that ties have.
        for limit in (0.5 + 2.0**-18, 0.5 - 2.0**-18, 0.5, -0.5, -0.5 - 2.0**-18)
    ]
    + [
        Operation(
            lambda ops, x: ops.less_each((scores(ops, x), 12.0), (scores(ops, x), 1.0))[1],
            lambda x: squares(x) < 1.0,
        )
    ],
    "both": [
        Operation(lambda ops, x: ops.both(*pair(ops, x)), lambda x: np.logical_and(*bits_of(x))),
        Operation(
            lambda ops, x: pair(ops, x)[0] | pair(ops, x)[1], lambda x: np.logical_or(*bits_of(x))
        ),
    ],
    "invert": [Operation(lambda ops, x: ops.invert(ops.signs(x)), lambda x: x >= 0)],
    "kth_values": [
        Operation(
            lambda ops, x: ops.kth_values(scores(ops, x), [4])[0],
            lambda x: np.sort(squares(x))[4:5],
        )
    ],
    "places": [
        Operation(
            lambda ops, x: ops.places(few(ops, x), range(M)),
            lambda x: np.argsort((x[:, :3] < 0).sum(1), kind="stable")[:, None] == np.arange(M),
        ),
        Operation(
            lambda ops, x: ops.places(scores(ops, x), [3]),
            lambda x: np.argsort(squares(x), kind="stable")[3:4, None] == np.arange(M),
        ),
        Operation(
            lambda ops, x: ops.combine(x, ops.places(scores(ops, x), [4, 0]), rows=1, most=1.0),
            lambda x: x[np.argsort(squares(x), kind="stable")[[4, 0]]],
        ),
    ],
    "smallest": [
        # Of counts from 0 to 3, so that most are tied.
        Operation(
            lambda ops, x, count=count: ops.smallest(few(ops, x), count),  # type: ignore[misc]
            lambda x, count=count: lowest((x[:, :3] < 0).sum(1), count),  # type: ignore[misc]
        )
        for count in range(1, M)
    ]
    + [
        Operation(lambda ops, x: ops.smallest(scores(ops, x), 4), lambda x: lowest(squares(x), 4)),
        Operation(lambda ops, x: ops.smallest(distances(ops, x), 3), lambda x: lowest(apart(x), 3)),
        Operation(
            lambda ops, x: ops.smallest(distances(ops, x), M), lambda x: np.ones((M, M), bool)
        ),
    ],
    "median_of": [
        Operation(
            lambda ops, x: ops.median_of(scores(ops, x)), lambda x: np.median(squares(x))[None]
        )
    ],
    "mean_of": [
        Operation(
            lambda ops, x: ops.mean_of(ops.kth_values(scores(ops, x), [0, 5])),
            lambda x: (squares(x).min() + squares(x).max())[None] / 2,
        )
    ],
    "absolute": [
        Operation(lambda ops, x: ops.absolute(scores(ops, x) - 9.0), lambda x: abs(squares(x) - 9))
    ],
    "maximum": [
        Operation(
            lambda ops, x: ops.maximum(scores(ops, x), 9.0), lambda x: np.maximum(squares(x), 9)
        )
    ],
    "minimum": [
        Operation(
            lambda ops, x: ops.minimum(scores(ops, x), 9.0), lambda x: np.minimum(squares(x), 9)
        )
    ],
}


def rows(seed: int) -> np.ndarray:
    """Rows (M, D) that integers hold exactly: of various lengths, some with ties."""
    rng = np.random.default_rng(seed)
    x = rng.uniform(-1, 1, (M, D)) * rng.choice([0.1, 0.5, 1.0], (M, 1))
    if seed % 2:
        x[rng.integers(M)] = x[rng.integers(M)]
        x[:, ::3] = rng.choice([-0.5, 0.0, 0.5], (M, len(x[0, ::3])))
        x[:, 1::3] = rng.integers(-2, 3, (M, len(x[0, 1::3]))) / 2**16  # a step apart
    return np.round(x * 2**16) / 2**16


def values(ops: Ops, made: Secret | Updates, reveal: Callable[[Secret], Any]) -> np.ndarray:
    """What a program returned, in the clear."""
    if isinstance(made, Secret):
        return np.asarray(reveal(made))
    return np.stack([np.asarray(reveal(ops.row(made, i))) for i in range(made.shape[0])])
