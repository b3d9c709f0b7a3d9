"""Move from the last aggregate by the mean of clipped differences to it."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.secret_weights import WEIGHT_UNIT, weighed
from secure_fl.errors import require

MOST_ITERATIONS = 16


@stage
def centered_clipping(tau: float = 1.0, iterations: int = 1) -> Stage:
    """Repeat v <- v + mean_i (x_i - v) min(1, tau / ||x_i - v||), from the last aggregate on.

    Karimireddy, He, Jaggi, Learning from history for Byzantine robust optimization, ICML 2021.
    The first v is the update opened before in this session, 0 in the first round.

    With y_i = x_i - v, the first v, every later one is v + sum_i a_i y_i, and its distances to the
    x_i follow from the Gram matrix of the y_i: iterations work on m numbers, not on rows.

    Where fewer than the minimum that may be combined have real weight in it, v stays.

    Range: squared norms of differences to the last aggregate.
    Reveals: nothing.  Cost: rows under a mask, m inverse roots an iteration, one weighted sum.
    """
    require(tau > 0, "tau", "positive", tau)
    good = 1 <= iterations <= MOST_ITERATIONS
    require(good, "iterations", f"from 1 to {MOST_ITERATIONS}", iterations)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, last = context.ops, context.surroundings.last
        y = context.x if last is None else ops.shift(context.x, -last)
        weights = _weights(ops, y, tau, iterations)
        moved = weighed(replace(context, x=y), weights, most=1.0)
        if last is not None:
            moved = ops.shift(moved, last)
        return replace(context, update=ops.row(moved, 0)), state

    return Stage(apply)


def _weights(ops: Ops, y: Updates, tau: float, iterations: int) -> Secret:
    """The a_i (m,) after all iterations: not negative, with a sum of at most 1."""
    m = y.shape[0]
    if iterations == 1:
        return _share(ops, ops.squared_norms(y), tau, m)
    gram = ops.gram(y)
    squared = ops.diagonal(gram)
    weights = _share(ops, squared, tau, m)
    for _ in range(iterations - 1):
        along = ops.sum(gram * ops.expand(weights, 0, m))  # y_i . v, (m,)
        length = ops.sum(along * weights)
        # Rounding may leave a distance just below zero, which the root's floor takes.
        share = _share(ops, squared - along * 2.0 + length, tau, m)
        weights = ops.rounded(weights - weights * ops.sum(share) + share, WEIGHT_UNIT)
    return weights


def _share(ops: Ops, squared: Secret, tau: float, count: int) -> Secret:
    """min(1, tau / ||.||) / count for squared norms (m,)."""
    return ops.rounded(ops.inverse_root(squared, tau * tau) * (tau / count), WEIGHT_UNIT)
