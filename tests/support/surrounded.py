"""Stages that depend on a round's surroundings and its rows; in a file: nodes import them."""

from __future__ import annotations

from dataclasses import replace

from secure_fl.aggregation import Context, Stage, stage


@stage
def step_towards_the_last() -> Stage:
    """The median of differences to the last update, added up again, times 1 / round.

    Reveals: nothing.  Cost: a median.
    """

    def apply(context: Context, state: object) -> tuple[Context, object]:
        ops, around = context.ops, context.surroundings
        x = context.x if around.last is None else ops.shift(context.x, -around.last)
        return replace(context, update=ops.median(x) * (1 / around.round)), state

    return Stage(apply)


@stage
def out_of(rows: int = 3, num_malicious: int | None = None) -> Stage:
    """Take the first row, of at least so many.

    Reveals: nothing.  Cost: local.
    """

    def apply(context: Context, state: object) -> tuple[Context, object]:
        return replace(context, update=context.ops.row(context.x, 0)), state

    return Stage(apply, needs=rows)
