"""Every operation of rules with a few random cases, and what NumPy says of it.

An entry is a program on operations, run alike in all worlds, and its oracle on the float rows. A
new operation must be entered here: `test_operations.py` compares the list with what `Ops` offers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from secure_fl.aggregation.ops import Ops, Secret, Updates
from tests.support.array_operations import ARRAY_OPERATIONS
from tests.support.operation_oracles import (
    CENTER,
    COSINE,
    STEP,
    TORCH_CENTER,
    TORCH_G,
    WEIGHTS,
    D,
    G,
    M,
    Operation,
    apart,
    clipped,
    cosines,
    distances,
    lowest,
    mean_nearest,
    middle,
    nearest_to,
    off_diagonal,
    scores,
    squares,
)

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
    "distances_to": [
        Operation(lambda ops, x: ops.distances_to(x, 2), lambda x: ((x - x[2]) ** 2).sum(1))
    ],
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
    **ARRAY_OPERATIONS,
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
