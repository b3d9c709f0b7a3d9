"""Order statistics of every coordinate in the clear, by comparator networks.

A network of compare-and-swap steps sorts m rows of a block of coordinates at once: each step is one
minimum and one maximum of two rows, which processors do for many coordinates in one instruction.
Steps that no wanted rank depends on are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch

Comparators = tuple[tuple[int, int], ...]
Reduce = Callable[[list[np.ndarray], np.ndarray], None]

# Coordinates of a block: enough that a step outweighs its call, few enough for the cache.
_BLOCK = 16384
# Of a block's buffer, in bytes.
_CACHE = 1 << 22
_LEAST_BLOCK = 2048


@functools.lru_cache(maxsize=64)
def merge_exchange(count: int) -> Comparators:
    """Batcher's network that sorts `count` rows: pairs (i, j), i < j, the smaller goes to i.

    Knuth, The Art of Computer Programming 3, algorithm 5.2.2M.
    """
    steps: list[tuple[int, int]] = []
    top = 1 << max((count - 1).bit_length() - 1, 0)
    p = top if count > 1 else 0
    while p > 0:
        q, r, d = top, 0, p
        while d > 0:
            steps += [(i, i + d) for i in range(count - d) if i & p == r]
            d, q, r = q - p, q // 2, p
        p //= 2
    return tuple(steps)


@functools.lru_cache(maxsize=256)
def selection(classes: tuple[str, ...]) -> Comparators:
    """The network that brings each rank to its class of ranks, without order inside a class.

    Args:
        classes: the class of each rank, smallest first; a class of one rank is that very rank.
    """
    classes_of: list[object] = list(classes)
    kept = []
    for i, j in reversed(merge_exchange(len(classes))):
        # Where both outputs go to the same class, and nothing later tells them apart, either
        # order serves.
        if classes_of[i] != classes_of[j]:
            kept.append((i, j))
            classes_of[i], classes_of[j] = object(), object()
    return tuple(reversed(kept))


def selected(
    x: torch.Tensor, classes: Sequence[str], reduce: Reduce, results: int = 1
) -> torch.Tensor:
    """Bring every coordinate's values to their classes of ranks, and reduce them to `results`.

    Args:
        x: float (m, d), m >= 1, no NaN.
        classes: of the m ranks; see `selection`.
        reduce: takes m arrays (c,), the k-th of the class of rank k, which it may overwrite, and
            an array (results, c), in which it leaves what becomes of them.

    Returns:
        (results, d), of the type of x; on as many threads as torch uses.
    """
    rows = x.detach().numpy()
    m, d = rows.shape
    network = selection(tuple(classes))
    found = np.empty((results, d), rows.dtype)
    size = min(_BLOCK, max(_LEAST_BLOCK, _CACHE // (rows.itemsize * (m + 1))))

    def work(starts: Sequence[int]) -> None:
        buffer = np.empty((m + 1, min(size, d)), rows.dtype)
        for start in starts:
            block = buffer[:, : min(size, d - start)]
            np.copyto(block[:m], rows[:, start : start + size])
            *wires, spare = block
            for i, j in network:
                np.minimum(wires[i], wires[j], out=spare)
                np.maximum(wires[i], wires[j], out=wires[j])
                wires[i], spare = spare, wires[i]
            reduce(wires, found[:, start : start + size])

    starts = range(0, d, size)
    threads = min(torch.get_num_threads(), len(starts))
    if threads <= 1:
        work(starts)
    else:
        with ThreadPoolExecutor(threads) as pool:
            list(pool.map(work, [starts[first::threads] for first in range(threads)]))
    found += 0.0  # of zeros with different signs either may stand here
    return torch.from_numpy(found)


def order_statistics(x: torch.Tensor, ranks: Sequence[int]) -> torch.Tensor:
    """Return for each 0-based rank k the k-th smallest of every coordinate of x (m, d), (k, d)."""

    def reduce(wires: list[np.ndarray], out: np.ndarray) -> None:
        for row, rank in zip(out, ranks, strict=True):
            np.copyto(row, wires[rank])

    # Ranks between two wanted ones are one class.
    classes = [
        f"{rank}" if rank in ranks else f"above {_below(ranks, rank)}" for rank in range(len(x))
    ]
    return selected(x, classes, reduce, len(ranks))


def _below(ranks: Sequence[int], rank: int) -> int:
    return max((wanted for wanted in ranks if wanted < rank), default=-1)


def mean_of_middle(x: torch.Tensor, trim: int) -> torch.Tensor:
    """Mean of every coordinate's values without its `trim` smallest and largest, (m, d) -> (d,)."""
    m = len(x)
    classes = ["low"] * trim + ["middle"] * (m - 2 * trim) + ["high"] * trim

    def reduce(wires: list[np.ndarray], out: np.ndarray) -> None:
        _mean(wires[trim : m - trim], out[0])

    return selected(x, classes, reduce)[0]


def mean_of_nearest(x: torch.Tensor, keep: int, center: torch.Tensor | None = None) -> torch.Tensor:
    """Mean of every coordinate's `keep` values nearest to a center (d,), the median for None.

    Of values at one distance those below the center stay. In order they are neighbours: from value
    s on the window moves up where value s + keep is nearer to the center than value s, and where it
    does not, no later step does.
    """
    m = len(x)
    if center is not None:
        away = mean_of_nearest_zero(x - center, keep)
        return away + center
    middle = (m - 1) // 2, m // 2
    return _nearest(
        x, keep, lambda wires: (wires[middle[0]] + wires[middle[1]]) * wires[0].dtype.type(0.5)
    )


def mean_of_nearest_zero(x: torch.Tensor, keep: int) -> torch.Tensor:
    """Mean of every coordinate's `keep` values nearest to 0; see `mean_of_nearest`."""
    return _nearest(x, keep, lambda wires: np.zeros((), wires[0].dtype))


def _nearest(
    x: torch.Tensor, keep: int, center: Callable[[list[np.ndarray]], np.ndarray]
) -> torch.Tensor:
    m = len(x)

    def reduce(wires: list[np.ndarray], out: np.ndarray) -> None:
        at = center(wires)
        moves = [wires[s + keep] - at < at - wires[s] for s in range(m - keep)]
        for k, wire in enumerate(wires):
            if k < m - keep:
                wire *= ~moves[k]
            if k >= keep:
                wire *= moves[k - keep]
        _mean(wires, out[0], keep)

    return selected(x, [f"{rank}" for rank in range(m)], reduce)[0]


def _mean(values: Sequence[np.ndarray], out: np.ndarray, count: int | None = None) -> None:
    np.copyto(out, values[0])
    for value in values[1:]:
        out += value
    out /= len(values) if count is None else count
