"""Average the subset of updates of least diameter."""

from __future__ import annotations

import itertools
import math

import torch

from secure_fl.aggregation.gram_ops import squared_distances
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.selection import mean_of_chosen, verdicts_opened

MOST_PAIRS = 200_000
"""Pairs of all subsets together that are compared: 15 hospitals of whom 7 are malicious."""


@stage
def mda(num_malicious: int | None = None, verdicts: bool = False) -> Stage:
    """Average the m - f rows whose largest distance is least (minimum-diameter averaging).

    El Mhamdi, Guerraoui, Rouault, ICLR 2021, section 3 (after Rousseeuw). Every subset is tried,
    so that hospitals must be few: at most 15 for the largest f, 22 for 3, 74 for 1; a rule for
    more is refused before round 1. Of subsets of one diameter the first in the order of their rows'
    numbers. f is `num_malicious`, of at least 2 f + 1 rows; None: (m - 1) // 2, rounded down, the
    largest number that the rows in play allow.

    Range: as `krum`.
    Reveals: with `verdicts` accepted, one bit a hospital: who was averaged. Else nothing.
    Cost: n^2 inner products; a comparison for each pair of each subset, in some 60 rounds and 40
    for the least; n d products.
    """
    bears = borne(num_malicious)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        rows = x.shape[0]
        count = rows - bears.among(rows)
        subsets = list(itertools.combinations(range(rows), count))
        if count == 1:
            best = ops.smallest(ops.squared_norms(x), 1)  # one subset of one row
        else:
            best = _members(ops, _least(ops, _diameters(ops, x, subsets)), subsets, rows)
        return mean_of_chosen(context, best, count, verdicts), state

    return Stage(
        apply, opens=verdicts_opened(verdicts), needs=bears.needs, most=_most(num_malicious)
    )


def _pairs(rows: int, num_malicious: int | None) -> int:
    f = borne(num_malicious).among(rows)
    return math.comb(rows, f) * math.comb(max(rows - f, 0), 2)


def _most(num_malicious: int | None) -> int:
    """The largest number of rows whose subsets are not too many."""
    rows = borne(num_malicious).needs
    while _pairs(rows + 1, num_malicious) <= MOST_PAIRS:
        rows += 1
    return rows


def _diameters(ops: Ops, x: Updates, subsets: list[tuple[int, ...]]) -> Secret:
    """The largest squared distance within each subset, (S,), by halves."""
    apart = squared_distances(ops, x)
    m = apart.shape[0]
    within = [[i * m + j for i, j in itertools.combinations(subset, 2)] for subset in subsets]
    large = ops.take(apart, torch.tensor(within))  # (S, P)
    while (pairs := large.shape[1]) > 1:
        places = torch.arange(math.prod(large.shape)).reshape(large.shape)
        half = -(-pairs // 2)  # of an odd number the middle one stands in both halves
        first, second = places[:, :half], places[:, pairs - half :]
        large = ops.maximum(ops.take(large, first), ops.take(large, second))
    return ops.take(large, torch.arange(len(subsets)))


def _least(ops: Ops, a: Secret) -> Secret:
    """Numbers 0 and one 1 at the first least of a (S,), in a table of more places: first by row."""
    size = a.shape[0]
    height = math.isqrt(size - 1) + 1
    width = -(-size // height)
    places = torch.arange(height * width).clamp_max(size - 1).reshape(height, width)
    table = ops.take(a, places)
    in_row = ops.smallest(table, 1)  # (h, w)
    of_rows = ops.smallest(ops.sum(table * in_row), 1)  # (h,)
    return ops.expand(of_rows, 1, width) * in_row


def _members(ops: Ops, which: Secret, subsets: list[tuple[int, ...]], rows: int) -> Secret:
    """Bits (m,) of the rows in the subset whose place in the table holds 1."""
    holding = [[s for s, subset in enumerate(subsets) if row in subset] for row in range(rows)]
    return ops.sum(ops.take(which, torch.tensor(holding))) > 0.5
