"""Average the updates that are nearest to their neighbours."""

from __future__ import annotations

from secure_fl.aggregation.gram_ops import krum_scores
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.selection import mean_of_chosen, verdicts_opened
from secure_fl.errors import require


@stage
def multi_krum(
    num_malicious: int | None = None, keep: int | None = None, verdicts: bool = False
) -> Stage:
    """Average the `keep` rows of least Krum score (see `krum`).

    Blanchard et al., NeurIPS 2017, section 4 (Multi-Krum). `keep` None: m - f, as ByzFL and Flower
    do. f is `num_malicious`, of at least 2 f + 3 rows; None: (m - 3) // 2, rounded down, the
    largest number that the rows in play allow. With fewer rows than `keep` all are averaged. Of
    equal scores the first rows' are less.

    Range: as `krum`.
    Reveals: with `verdicts` accepted, one bit a hospital: who was averaged. Else nothing.
    Cost: as `krum`.
    """
    bears = borne(num_malicious, 2, 3)
    require(keep is None or keep >= 1, "keep", "None or at least 1", keep)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        rows = x.shape[0]
        f = bears.among(rows)
        count = rows - f if keep is None else min(keep, rows)
        chosen = ops.smallest(krum_scores(ops, x, f), count)  # (m,)
        return mean_of_chosen(context, chosen, count, verdicts), state

    return Stage(apply, opens=verdicts_opened(verdicts), needs=bears.needs)
