"""Replace extreme coordinates by the median, and keep the hospitals apart for weighting."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import trim_count
from secure_fl.errors import require


@stage
def trim_to_median(beta: float = 0.2) -> Stage:
    """Put the coordinate's median in place of its floor(beta m) largest and smallest values.

    Steps 3 and 4 of the paper's Algorithm 2 made compatible with step 5: after the median
    ("all the parameters are substituted with the median", section 2.4) and the trimming, there
    must still be one update a hospital for reputations to weight. Substituting instead of
    dropping keeps every coordinate's total weight public. With equal reputations the outcome
    is the trimmed mean mixed with the median in proportions 1 - 2 beta and 2 beta.

    Reveals: nothing.  Cost: selections of the median and of both bounds, n d products of a bit.
    """
    require(0 <= beta < 0.5, "beta", "in [0, 0.5)", beta)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        trim = trim_count(beta, x.shape[0])
        if trim:
            x = ops.where(ops.trimmed_mask(x, trim), x, ops.median(x))  # (m, d)
        return replace(context, x=x), state

    return Stage(apply)
