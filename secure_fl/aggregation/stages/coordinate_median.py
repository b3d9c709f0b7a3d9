"""Combine updates by the median of every coordinate."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def coordinate_median() -> Stage:
    """Take the median of every coordinate; of an even number, the mean of the middle two.

    Yin et al., ICML 2018; paper, section 2.4.

    Reveals: nothing.  Cost: one selection of one or two order statistics.
    """

    def apply(context: Context, state: State) -> tuple[Context, State]:
        return replace(context, update=context.ops.median(context.x)), state

    return Stage(apply)
