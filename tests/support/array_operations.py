"""The operations on small arrays: an entry each, as in `tests.support.operations`."""

from __future__ import annotations

import numpy as np
import torch

from tests.support.operation_oracles import (
    COSINE,
    TORCH_G,
    G,
    M,
    Operation,
    apart,
    bits_of,
    cosines,
    distances,
    few,
    lowest,
    pair,
    scores,
    squares,
)

ARRAY_OPERATIONS: dict[str, list[Operation]] = {
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
    "matmul": [
        Operation(
            lambda ops, x: ops.matmul(ops.gram(x), ops.smallest(scores(ops, x), 2)),
            lambda x: x @ x.T @ lowest(squares(x), 2),
            2.0**-26,
        ),
        Operation(
            lambda ops, x: ops.matmul(ops.gram(x), distances(ops, x)),
            lambda x: x @ x.T @ apart(x),
            0.1,  # 2^20 at 40 bits
        ),
        # The ranges alone would leave 2^-20; the bound keeps more.
        Operation(
            lambda ops, x: ops.matmul(
                ops.gram(x) * 0.001, ops.inverse_root(scores(ops, x), 2.0**-20), most=4.0
            ),
            lambda x: 0.001 * x @ x.T @ (1 / np.sqrt(np.maximum(squares(x), 2.0**-20))),
            2.0**-12,
        ),
    ],
    "normalized": [
        Operation(
            lambda ops, x, floor=floor: ops.normalized(  # type: ignore[misc]
                ops.gram(x), ops.sum(scores(ops, x)) * 0.01, floor, most=100.0
            ),
            lambda x, floor=floor: (
                x @ x.T * 4.0 ** -np.ceil(np.log2(max(squares(x).sum() * 0.01, floor)) / 2)  # type: ignore[misc]
            ),
            2.0**-20,
        )
        for floor in (2.0**-20, 0.01, 10.0)
    ]
    + [
        # What is nothing stays nothing.
        Operation(
            lambda ops, x: ops.normalized(scores(ops, x) * 0.0, ops.sum(scores(ops, x)) * 0.0, 0.5),
            lambda x: np.zeros(M),
        ),
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
