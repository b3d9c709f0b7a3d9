"""Add copies of the most central update, then take the median."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.weights import median_rows
from secure_fl.counts import share_count
from secure_fl.errors import require


@stage
def foundation(synthetic: float = 0.5) -> Stage:
    """Return the coordinate-wise median of the updates and floor(synthetic m) synthetic ones.

    FoundationFL; Fang, Nabavirazavi, Liu, Sun, Iyengar, Yang, Do we really need to design new
    Byzantine-robust aggregation rules?, NDSS 2025. With g+ and g- the largest and smallest value
    of every coordinate, each synthetic update is the x_i with the largest
    min(||x_i - g+||, ||x_i - g-||), of equal ones the first.

    Range: squared norms of differences between rows.
    Reveals: nothing; in most coordinates the update is the most central row, and nobody is told
    whose that is. Where its copies are half of all rows, it decides every coordinate, and the
    update counts as one hospital's (`weights.median_rows`): with a minimum nothing is opened.
    Cost: a selection of two order statistics, 2 n d squares, one weighted sum, a median of
    (1 + synthetic) m rows.
    """
    require(0 <= synthetic <= 1, "synthetic", "in [0, 1]", synthetic)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        m = x.shape[0]
        added = share_count(synthetic, m)
        if added:
            low, high = ops.order_statistics(x, [0, m - 1])  # (d,) each
            to_low, to_high = (ops.squared_norms(ops.shift(x, -end)) for end in (low, high))
            nearer = ops.minimum(to_low, to_high)  # (m,)
            central = ops.combine(x, ops.smallest(-nearer, 1), rows=1, most=1.0)  # (1, d)
            x = ops.join([x, *[central] * added])
        # The most central row stands there once more for each synthetic one.
        rows = context.x.hospitals(median_rows([1 + added, *[1] * (m - 1)]))
        return replace(context, update=replace(ops.median(x), rows=rows)), state

    return Stage(apply)
