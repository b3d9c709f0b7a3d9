"""Average all but the longest updates."""

from __future__ import annotations

from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.selection import mean_of_chosen, verdicts_opened


@stage
def cge(num_malicious: int | None = None, verdicts: bool = False) -> Stage:
    """Average the m - f rows of least norm (comparative gradient elimination).

    Gupta, Liu, Vaidya, 2020 (arXiv 2008.04699), section 3, which sums them. Of equal norms the
    first row's is less. f is `num_malicious`, of at least 2 f + 1 rows; None: (m - 1) // 2, rounded
    down, the largest number that the rows in play allow.

    Range: squared norms must fit the ring.
    Reveals: with `verdicts` accepted, one bit a hospital: who was averaged. Else nothing.
    Cost: n squared norms, a selection among them; n d products.
    """
    bears = borne(num_malicious)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, rows = context.ops, context.x.shape[0]
        count = rows - bears.among(rows)
        chosen = ops.smallest(ops.squared_norms(context.x), count)  # (m,)
        return mean_of_chosen(context, chosen, count, verdicts), state

    return Stage(apply, opens=verdicts_opened(verdicts), needs=bears.needs)
