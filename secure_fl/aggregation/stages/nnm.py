"""Mix every update with its nearest neighbours."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.gram_ops import squared_distances
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def nnm(num_malicious: int | None = None) -> Stage:
    """Put the mean of its m - f nearest rows, itself among them, in the place of each row.

    Allouah, Farhadkhani, Guerraoui, Gupta, Pinot, Stephan, AISTATS 2023, algorithm 2: before any
    robust rule. Of equal distances the first row's is less. f is `num_malicious`, of at least
    2 f + 1 rows; None: (m - 1) // 2, rounded down, the largest number that the rows in play allow.

    Range: as `krum`; means are rounded down to the steps of the rows, of weights of 17 bits.
    Reveals: nothing.
    Cost: n^2 inner products, a selection among n^2 numbers, n^2 d products of which n d are sent;
    then bits of the means.
    """
    bears = borne(num_malicious)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        count = x.shape[0] - bears.among(x.shape[0])
        near = ops.smallest(squared_distances(ops, x), count)  # (m, m)
        mixed = ops.combine(x, near * (1 / count), rows=count, most=1 + 2.0**-16, rounded=True)
        return replace(context, x=mixed), state

    return Stage(apply, needs=bears.needs)
