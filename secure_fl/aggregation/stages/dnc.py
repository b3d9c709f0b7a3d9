"""Average all but the updates that stand out along the direction of largest spread."""

from __future__ import annotations

from secure_fl.aggregation.gram_ops import FEW_BITS, centered, normalized_by_trace, top_column
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.selection import mean_of_chosen, verdicts_opened
from secure_fl.errors import require


@stage
def dnc(num_malicious: int | None = None, columns: int = 10_000, verdicts: bool = False) -> Stage:
    """Average the m - f rows of least projection on the top singular vector (divide and conquer).

    Of `columns` coordinates drawn at random after all commitments, centered at their mean, the
    score of a row is its squared projection. Shejwalkar, Houmansadr, NDSS 2021, algorithm 2, with
    one iteration (niters = 1) and the filtering fraction 1. Of equal scores the first row's is
    less. f is `num_malicious`, of at least 2 f + 1 rows; None: (m - 1) // 2, rounded down, the
    largest number that the rows in play allow.

    The projections are the top eigenvector of the centered Gram matrix, as a column of its 17th
    power (`gram_ops.top_column`): where nobody stands out they are its approximation.

    Range: as `squared_norms` of the columns; rows that agree to 2^-20 of what max_abs allows are
    not told apart.
    Reveals: with `verdicts` accepted, one bit a hospital: who was averaged. Else nothing.
    Cost: n^2 inner products of the columns, some 260 rounds, a selection among n numbers; n d
    products.
    """
    bears = borne(num_malicious)
    require(columns >= 1, "columns", "at least 1", columns)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, rows = context.ops, context.x.shape[0]
        sampled = ops.columns(context.x, context.sampled(columns))  # (m, b)
        spread = normalized_by_trace(ops, centered(ops, ops.gram(sampled)))  # (m, m)
        along = ops.matmul(spread, top_column(ops, spread), bits=FEW_BITS)  # (m,)
        count = rows - bears.among(rows)
        chosen = ops.smallest(ops.multiply(along, along, bits=FEW_BITS), count)
        return mean_of_chosen(context, chosen, count, verdicts), state

    return Stage(apply, opens=verdicts_opened(verdicts), needs=bears.needs)
