"""Put the means of random groups in the place of updates."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import MOST_HOSPITALS
from secure_fl.errors import require


@stage
def bucketing(size: int = 2) -> Stage:
    """Divide the rows at random into groups of at least `size`; go on with the groups' means.

    Karimireddy, He, Jaggi, Byzantine-robust learning on heterogeneous datasets via bucketing, ICLR
    2022. There the last group may be smaller; here all have `size` rows or one more, so that none
    is one hospital alone. The groups are drawn anew in every round from public randomness that
    follows from the commitments, so that nobody knows them when updates are made. A later stage
    that rejects a group rejects its members. f malicious hospitals spoil at most f groups: what
    follows must bear f among m / size rows.

    Range: that of x, rounded down to its steps.  Reveals: nothing.  Cost: local, once lifted; then
    bits of m / size rows.
    """
    require(1 <= size <= MOST_HOSPITALS, "size", f"from 1 to {MOST_HOSPITALS}", size)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        return context.grouped(context.groups(size)), state

    return Stage(apply, leaves=lambda rows: max(1, rows // size))
