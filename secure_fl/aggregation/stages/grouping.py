"""Put the means of fixed groups in the place of updates."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import MOST_HOSPITALS
from secure_fl.errors import require


@stage
def grouping(count: int = 5) -> Stage:
    """Divide the hospitals by their number modulo `count`; go on with the groups' means.

    FLCert's groups (Cao, Zhang, Jia, Gong, FLCert, IEEE TIFS 2022; FLCert-D), which no round
    changes: f malicious hospitals spoil at most f of them in all rounds together. FLCert trains a
    model a group and takes the majority of their predictions. On updates of one model its vote is
    the median that follows: for every number t, whether the update is above t in a coordinate is
    what the majority of groups say. The certificate for predictions does not carry over.

    Groups whose members are all absent are left out; one with a single member present is its
    update.

    Range: that of x, rounded down to its steps.  Reveals: nothing.  Cost: local, once lifted; then
    bits of `count` rows.
    """
    require(1 <= count <= MOST_HOSPITALS, "count", f"from 1 to {MOST_HOSPITALS}", count)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        numbers = [members[0] for members in context.members]
        groups = [
            [row for row, number in enumerate(numbers) if number % count == group]
            for group in range(count)
        ]
        return context.grouped([group for group in groups if group]), state

    return Stage(apply, leaves=lambda rows: min(rows, count))
