"""Stages that open what they did not declare, one way each."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from secure_fl.aggregation import Context, Stage, stage
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
    "by_allowing_it_itself": (by_allowing_it_itself, (), "openings of the stage must be as decl"),
}


@stage
def unruly(way: str) -> Stage:
    """Do it, then go on as if nothing had happened."""
    act, declared, _ = WAYS[way]

    def apply(context: Context, state: Any) -> tuple[Context, Any]:
        act(context)
        return replace(context, update=context.ops.median(context.x)), state

    return Stage(apply, opens=declared)
