"""Select by Krum's scores, then average around every coordinate's median."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.gram_ops import krum_scores
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def bulyan(num_malicious: int | None = None) -> Stage:
    """Of the m - 2 f rows of least Krum score average, by coordinate, the m - 4 f nearest values.

    El Mhamdi, Guerraoui, Rouault, ICML 2018, section 4. Nearest to the coordinate's median of the
    rows selected, ties as in `mean_around_median`. The selection is by one pass of scores
    (Multi-Krum); the paper's loop removes the best row and scores the rest anew, which can select
    others. f is `num_malicious`, of at least 4 f + 3 rows; None: (m - 3) // 4, rounded down, the
    largest number that the rows in play allow.

    The rows selected stay secret: they are brought, in order of score, into m - 2 f rows of their
    own by a secret matrix of bits, with which all coordinates are multiplied.

    Range: as `krum`.  Reveals: nothing.
    Cost: as `krum`, and a mean around the median of m - 2 f rows.
    """
    bears = borne(num_malicious, 4, 3)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        rows = x.shape[0]
        f = bears.among(rows)
        kept, near = rows - 2 * f, rows - 4 * f
        order = ops.places(krum_scores(ops, x, f), range(kept))  # (kept, m)
        # Each row is one hospital's, and no two are the same one's.
        selected = replace(ops.combine(x, order, rows=1, most=1.0), rows=x.rows)
        if near < kept:
            selected = ops.where(ops.nearest(selected, near), selected, None)
        ones = torch.ones(kept, dtype=torch.float64)
        update = ops.weighted_mean(selected, ones, divisor=near)
        return replace(context, update=update), state

    return Stage(apply, needs=bears.needs)
