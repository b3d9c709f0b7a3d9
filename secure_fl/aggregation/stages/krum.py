"""Take the update that is nearest to its neighbours."""

from __future__ import annotations

from secure_fl.aggregation.gram_ops import krum_scores
from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.selection import mean_of_chosen, verdicts_opened


@stage
def krum(num_malicious: int | None = None, verdicts: bool = False) -> Stage:
    """Take the row i of least score: the sum of ||x_i - x_j||^2 over its m - f - 2 nearest j.

    Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017, section 4, with squared distances and
    i itself not counted, as there; ByzFL counts m - f - 1 neighbours. Of equal scores the first
    row's. f is `num_malicious`, of at least 2 f + 3 rows; None: (m - 3) // 2, rounded down, the
    largest number that the rows in play allow.

    Range: squared norms must fit the ring; distances are exact while four of them do.
    Reveals: with `verdicts` accepted, one bit a hospital: who was taken. Else nothing, but the
    update is one hospital's own.
    Cost: n^2 inner products, 2 selections among n^2 and n numbers; n d products.
    """
    bears = borne(num_malicious, 2, 3)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        chosen = ops.smallest(krum_scores(ops, x, bears.among(x.shape[0])), 1)  # (m,)
        return mean_of_chosen(context, chosen, 1, verdicts), state

    return Stage(apply, opens=verdicts_opened(verdicts), needs=bears.needs)
