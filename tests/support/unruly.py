"""Stages that err, one way each: in what they open, or in how many rows they combine."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from secure_fl.aggregation import Context, Secret, Stage, Updates, stage
from secure_fl.aggregation.openings import Opens, Permit
from secure_fl.types import Opening

FLAGS = (Opens("accepted"),)
NUMBERS = (Opens("norms", unit=2.0**-32),)


def undeclared(context: Context) -> None:
    context.ops.open("norms", context.ops.squared_norms(context.x))


def another_name(context: Context) -> None:
    context.ops.open("flags", context.ops.squared_norms(context.x) < 1.0)


def another_shape(context: Context) -> None:
    context.ops.open("accepted", context.ops.median(context.x) < 0.0)


def a_number_for_a_bit(context: Context) -> None:
    context.ops.open("accepted", context.ops.squared_norms(context.x))


def a_bit_for_a_number(context: Context) -> None:
    context.ops.open("norms", context.ops.squared_norms(context.x) < 1.0)


def twice(context: Context) -> None:
    short = context.ops.squared_norms(context.x) < 1.0
    context.ops.open("accepted", short)
    context.ops.open("accepted", short)


def out_of_order(context: Context) -> None:
    context.ops.open("used", context.ops.squared_norms(context.x) < 1.0)


def less(context: Context) -> None:
    pass


def the_update_early(context: Context) -> None:
    context.ops.open("update", context.ops.median(context.x))


def by_a_private_method(context: Context) -> None:
    secret = context.ops.squared_norms(context.x)
    context.ops._reveal(secret, Permit(context.ops.exits, Opening("x", secret.shape, 2.0**-32)))


def by_allowing_it_itself(context: Context) -> None:
    ops = context.ops
    ops.exits.allow(NUMBERS, context.x.shape[0], context.x.shape[1])
    ops.open("norms", ops.squared_norms(context.x))


def by_crypten(context: Context) -> None:
    context.ops.squared_norms(context.x).data.reveal()


def by_a_permit_for_flags(context: Context) -> None:
    permit = context.ops.exits.permit("accepted", (context.x.shape[0],), True)
    ring: Any = context.ops.ring  # type: ignore[attr-defined]
    ring.protocols.reveal(ring.lifted(context.x.data), permit)


def by_a_permit_for_other_words(context: Context) -> None:
    ops = context.ops
    permit = ops.exits.permit("accepted", (context.x.shape[0],), True)
    ring: Any = ops.ring  # type: ignore[attr-defined]
    ring.protocols.reveal_wires(ops.trimmed_mask(context.x, 0).data.wires, permit)


WAYS: dict[str, tuple[Any, tuple[Opens, ...], str]] = {
    "undeclared": (undeclared, (), "'norms' must be declared"),
    "another_name": (another_name, FLAGS, "name of the opening must be the declared 'accepted'"),
    "another_shape": (another_shape, FLAGS, r"shape of 'accepted' must be \(5,\); got \(3,\)"),
    "a_number_for_a_bit": (a_number_for_a_bit, FLAGS, "kind of 'accepted' must be bits"),
    "a_bit_for_a_number": (a_bit_for_a_number, NUMBERS, "kind of 'norms' must be numbers"),
    "twice": (twice, FLAGS, "'accepted' must be declared"),
    "out_of_order": (out_of_order, (*FLAGS, Opens("used")), "must be the declared 'accepted'"),
    "less": (less, FLAGS, "openings of the stage must be as declared"),
    "the_update_early": (the_update_early, (), "'update' must be declared"),
    "by_a_private_method": (by_a_private_method, (), "a secret is opened by name"),
    "by_crypten": (by_crypten, (), "a secret is opened by name"),
    "by_a_permit_for_flags": (
        by_a_permit_for_flags,
        FLAGS,
        "opened as 'accepted' must be for shape",
    ),
    "by_a_permit_for_other_words": (
        by_a_permit_for_other_words,
        FLAGS,
        r"words opened as 'accepted' must be \(1, 1\); got \(5, 1\)",
    ),
    "by_allowing_it_itself": (by_allowing_it_itself, (), "openings of the stage must be as decl"),
}

AT_THE_RING = {"by_crypten", "by_a_permit_for_flags", "by_a_permit_for_other_words"}
"""Ways that there are under MPC alone."""


@stage
def unruly(way: str) -> Stage:
    """Do it, then go on as if nothing had happened."""
    act, declared, _ = WAYS[way]

    def apply(context: Context, state: Any) -> tuple[Context, Any]:
        act(context)
        return replace(context, update=context.ops.median(context.x)), state

    return Stage(apply, opens=declared)


def _first(context: Context) -> Updates:
    return context.ops.rows(context.x, [0])


def _one_weight(context: Context) -> Secret:
    weights = torch.zeros(len(context.hospitals), dtype=torch.float64)
    weights[0] = 1
    return context.ops.weighted_mean(context.x, weights)


def rows_without_hospitals(context: Context) -> Context:
    return replace(context, x=_first(context))


def hospitals_without_rows(context: Context) -> Context:
    return replace(context, hospitals=context.hospitals[1:])


def hospitals_in_another_order(context: Context) -> Context:
    return replace(context, hospitals=context.hospitals[::-1])


def hospitals_that_are_not_there(context: Context) -> Context:
    x = context.ops.join([context.x, _first(context)])
    return replace(context, x=x, hospitals=(*context.hospitals, 0))


def a_row_many_times(context: Context) -> Context:
    return replace(context, x=context.ops.rows(context.x, [0] * len(context.hospitals)))


def a_context_of_its_own(context: Context) -> Context:
    """Its minimum is the default, 1."""
    c = context
    return Context(c.ops, _first(c), c.hospitals[:1], c.reputation, c.samples, c.accepted)


def a_minimum_of_its_own(context: Context) -> Context:
    return replace(context, minimum=1, update=_one_weight(context))


def mean_of_one_twice(context: Context) -> Context:
    one = _one_weight(context)
    return replace(context, update=context.ops.mean_of([one, one]))


def one_times_one(context: Context) -> Context:
    return replace(context, update=context.ops.multiply(_one_weight(context), 1.0))


def one_and_nothing(context: Context) -> Context:
    one = _one_weight(context)
    nothing = context.ops.subtract(one, one)
    return replace(context, update=context.ops.add(nothing, context.ops.maximum(one, one)))


def median_of_one(context: Context) -> Context:
    return replace(context, update=context.ops.median(_first(context)))


TOO_FEW: dict[str, tuple[Callable[[Context], Context], str | None]] = {
    "rows_without_hospitals": (
        rows_without_hospitals,
        r"updates .* must be \(6, 4\), .*got \(1, 4\)",
    ),
    "hospitals_without_rows": (hospitals_without_rows, r"must be \(5, 4\), .*got \(6, 4\)"),
    "hospitals_in_another_order": (hospitals_in_another_order, "in this order; got"),
    "hospitals_that_are_not_there": (hospitals_that_are_not_there, "in this order; got"),
    "a_row_many_times": (a_row_many_times, "indices of rows must be distinct"),
    "a_context_of_its_own": (a_context_of_its_own, None),
    "a_minimum_of_its_own": (a_minimum_of_its_own, None),
    "mean_of_one_twice": (mean_of_one_twice, None),
    "one_times_one": (one_times_one, None),
    "one_and_nothing": (one_and_nothing, None),
    "median_of_one": (median_of_one, None),
}
"""How to combine one row of six as if it were more; by what it is refused, None for a zero."""


@stage
def too_few(way: str) -> Stage:
    """Leave what stands for more rows than it is."""
    act, _ = TOO_FEW[way]
    return Stage(lambda context, state: (act(context), state))
