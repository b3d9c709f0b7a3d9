"""Reject the smaller of two clusters of directions."""

from __future__ import annotations

from secure_fl.aggregation.clusters import majority
from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def clustering() -> Stage:
    """Divide the rows in two by their cosines and reject the smaller part.

    Of all divisions the one whose most similar pair across is least similar: single linkage.
    Sattler, Mueller, Wiegand, Samek, ICASSP 2020, section 3; Blades merges by average linkage.
    Ties: `clusters.majority`.

    Range: as `squared_norms`.
    Reveals: accepted, one bit a hospital.
    Cost: n^2 inner products, n inverse roots; n times n^2 comparisons, some 18 n rounds.
    """

    def apply(context: Context, state: State) -> tuple[Context, State]:
        accepted = context.ops.open("accepted", majority(context.ops, context.x))
        return context.reject(accepted), state

    return Stage(apply, opens=(Opens("accepted"),))
