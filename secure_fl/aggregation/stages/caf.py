"""Average updates by the weights that a filter of their main spread leaves them."""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import torch

from secure_fl.aggregation.gram_ops import (
    FEW_BITS,
    SLACK,
    centered,
    largest,
    least_size,
    normalized_by_trace,
    shares,
    top_column,
)
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.ops import Ops, Secret
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.secret_weights import WEIGHT_UNIT, weighed

MOST_ROWS = 64
_LEAST_GAP = 2.0**-20  # of squares below 1 whose largest is above 1/16


@stage
def caf(num_malicious: int | None = None) -> Stage:
    """Average the rows with the weights for which they spread least along their main direction.

    Covariance-bound agnostic filter; Allouah, Guerraoui, Stephan, ICML 2025, algorithm 2. All rows
    have weight c_i = 1 at first. While sum c > m - 2 f, with v the top eigenvector of the rows'
    weighted covariance and t_i = ((x_i - mean) . v)^2, weights become c_i (1 - t_i / max t). Of
    these weights those of the least top eigenvalue make the mean. f is `num_malicious`, of at least
    2 f + 1 rows; None: (m - 1) // 2, rounded down.

    The maximum is taken of rows that it was not before: each pass takes one row's weight, so that
    2 f passes, done whatever the rows are, always suffice. v follows from the weighted Gram matrix,
    as a column of its 16th power (`gram_ops.top_column`).

    Range: as `dnc`, for up to 64 rows.
    Reveals: nothing.
    Cost: n^2 inner products; some 720 rounds in each of 2 f passes; n d products.
    """
    bears = borne(num_malicious)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, m = context.ops, context.x.shape[0]
        passes = 2 * bears.among(m)
        gram = normalized_by_trace(ops, centered(ops, ops.gram(context.x)))
        weights = _filtered(ops, gram, passes)
        # The sum of weights by m is above (m - 2 f) / m wherever they are taken.
        weights = shares(ops, weights, most=1 / m, least=(m - passes) / (m * SLACK))
        moved = weighed(context, ops.rounded(weights, WEIGHT_UNIT), most=SLACK)
        return replace(context, update=ops.row(moved, 0)), state

    return Stage(apply, needs=bears.needs, most=MOST_ROWS)


class _Kept(NamedTuple):
    """Weights, and the top eigenvalue with them as a fraction.

    Attributes:
        weights: c / m, (m,).
        above, below: (1,), of one factor for all weights.
    """

    weights: Secret
    above: Secret
    below: Secret


def _times(ops: Ops, a: Secret, b: Secret, most: float | None = None) -> Secret:
    return ops.multiply(a, b, most, FEW_BITS)


def _filtered(ops: Ops, gram: Secret, passes: int) -> Secret:
    """c / m, (m,), of the least top eigenvalue, for a centered Gram matrix (m, m)."""
    m = gram.shape[0]
    root = ops.diagonal(gram) * 0.0 + m**-0.5  # sqrt(c / m)
    alive = root > 0.0  # has not been the farthest
    best: _Kept | None = None
    for left in range(passes, 0, -1):
        weights = _times(ops, root, root)
        total = ops.sum(weights)  # (1,)
        away = _about_mean(ops, gram, weights, total)
        pairs = _times(ops, ops.expand(root, 1, m), ops.expand(root, 0, m))
        # Entries sqrt(t_i c_i), of one factor.
        # Of rows with a mean square of at most 1, moved by at most 1.
        spread = normalized_by_trace(ops, _times(ops, away, pairs), most=4 * SLACK)
        along = top_column(ops, spread)
        by_root = _times(ops, root, along)
        projections = ops.matmul(away, by_root, bits=FEW_BITS)
        above = ops.sum(_times(ops, projections, by_root))
        cube = _times(ops, total, _times(ops, total, total))
        below = _times(ops, cube, ops.sum(_times(ops, along, along)))
        found = _Kept(weights, *_fraction(ops, ops.concatenate([above, below])))
        best = found if best is None else _better(ops, best, found, total > (m - passes) / m)
        if left > 1:
            root, alive = _without_farthest(ops, projections, root, alive)
    return _times(ops, root, root) if best is None else best.weights


def _about_mean(ops: Ops, gram: Secret, weights: Secret, total: Secret) -> Secret:
    """total^2 (x_i - v) . (x_j - v), (m, m), for the mean v by weights that add up to total."""
    m = gram.shape[0]
    dots = ops.matmul(gram, weights)  # total x_i . v
    sides = ops.expand(dots, 1, m) + ops.expand(dots, 0, m)
    return _times(ops, gram * total - sides, total) + ops.sum(_times(ops, dots, weights))


def _fraction(ops: Ops, value: Secret) -> tuple[Secret, Secret]:
    """A number from 0 to 4 as a fraction (2,): the same number, the lower part in [1/4, 1)."""
    below = ops.take(value, torch.tensor([1]))
    scaled = ops.normalized(value, below, least_size(below), most=4 * SLACK)
    return ops.take(scaled, torch.tensor([0])), ops.take(scaled, torch.tensor([1]))


def _better(ops: Ops, old: _Kept, new: _Kept, allowed: Secret) -> _Kept:
    """The one of less eigenvalue, the old one where they are equal or the new is not allowed."""
    better = (new.above * old.below < old.above * new.below) & allowed
    return _Kept(*(a + (b - a) * better for a, b in zip(old, new, strict=True)))


def _without_farthest(
    ops: Ops, projections: Secret, root: Secret, alive: Secret
) -> tuple[Secret, Secret]:
    """The roots of weights after a pass, and who has not been the farthest."""
    m = root.shape[0]
    away = ops.absolute(projections * alive)
    farthest = largest(ops, away)
    size = ops.sum(away * farthest)
    away = ops.normalized(away, size, least_size(size), most=SLACK)
    squared = _times(ops, away, away)
    most = ops.sum(squared * farthest)  # in [1/16, 1), or 0
    gaps = ops.concatenate([most - squared, most])
    inverse = ops.inverse_root(gaps, _LEAST_GAP)
    places = torch.arange(m)
    short = _times(ops, ops.take(gaps, places), ops.take(inverse, places), SLACK)
    by = _times(ops, short, ops.take(inverse, torch.tensor([m])), SLACK)
    return _times(ops, root, by), alive & ~farthest
