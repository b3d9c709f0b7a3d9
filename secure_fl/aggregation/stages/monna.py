"""Average the updates that are nearest to a trusted hospital's."""

from __future__ import annotations

from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.aggregation.selection import mean_of_chosen, verdicts_opened
from secure_fl.errors import require


@stage
def monna(pivot: int = 0, num_malicious: int | None = None, verdicts: bool = False) -> Stage:
    """Average the m - f rows that are nearest to the pivot's, its own among them.

    Farhadkhani, Guerraoui, Gupta, Hoang, Pinot, Stephan, ICML 2023, section 3: there each node
    takes its own update for the pivot; here a hospital is named in public whom all trust. Where it
    is away, the next hospital in play is the pivot, or else the first. Of equal distances the first
    row's is less. f is `num_malicious`, of at least 2 f + 1 rows; None: (m - 1) // 2, rounded down,
    the largest number that the rows in play allow.

    Range: as `krum`.
    Reveals: with `verdicts` accepted, one bit a hospital: who was averaged. Else nothing.
    Cost: n^2 inner products, a selection among n numbers; n d products.
    """
    bears = borne(num_malicious)
    require(pivot >= 0, "pivot", "a hospital's number, at least 0", pivot)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, rows = context.ops, context.x.shape[0]
        largest = [max(members) for members in context.members]  # of a group, or one hospital
        place = next((i for i, number in enumerate(largest) if number >= pivot), 0)
        count = rows - bears.among(rows)
        chosen = ops.smallest(ops.distances_to(context.x, place), count)  # (m,)
        return mean_of_chosen(context, chosen, count, verdicts), state

    return Stage(apply, opens=verdicts_opened(verdicts), needs=bears.needs)
