"""A rule applied to updates: stage after stage, its openings held to what it declared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch

from secure_fl.aggregation.context import Context
from secure_fl.aggregation.openings import THE_UPDATE
from secure_fl.aggregation.ops import Ops, Secret, Updates
from secure_fl.aggregation.pipeline import Pipeline, Stage, State
from secure_fl.aggregation.surroundings import Surroundings
from secure_fl.errors import MISTAKES, InputError, SecureFLError, require


def run(
    pipeline: Pipeline,
    states: Sequence[State],
    ops: Ops,
    x: Updates | None,
    hospitals: Sequence[int],
    reputation: torch.Tensor,
    samples: torch.Tensor,
    dim: int,
    reference: torch.Tensor | None = None,
    minimum: int = 1,
    surroundings: Surroundings = Surroundings(),  # noqa: B008
) -> tuple[torch.Tensor, torch.Tensor, tuple[State, ...]]:
    """Run all stages and open the update; see `combined`.

    Returns:
        update float64 (d,), zero if nothing was combined; accepted bool (n,); states.
    """
    update, accepted, following = combined(
        pipeline,
        states,
        ops,
        x,
        hospitals,
        reputation,
        samples,
        dim,
        reference,
        minimum,
        surroundings,
    )
    if update is None:
        return ops.exits.nothing_combined(dim), accepted, following
    ops.exits.allow((THE_UPDATE,), 0, dim)
    return ops.open(THE_UPDATE.name, update), accepted, following


def combined(
    pipeline: Pipeline,
    states: Sequence[State],
    ops: Ops,
    x: Updates | None,
    hospitals: Sequence[int],
    reputation: torch.Tensor,
    samples: torch.Tensor,
    dim: int,
    reference: torch.Tensor | None = None,
    minimum: int = 1,
    surroundings: Surroundings = Surroundings(),  # noqa: B008
) -> tuple[Secret | None, torch.Tensor, tuple[State, ...]]:
    """Run all stages; the update stays secret.

    Nothing is combined where fewer than `minimum` rows are in play at the start or after a stage,
    or than the next stage needs, or have real weight in the update (`weights.real_rows`): no
    further stage runs. Flags opened before stand.

    Args:
        x: updates (m, d) of `hospitals`, None if there are none.
        reputation: float64 (n,) of all n hospitals.
        samples: float64 (n,), rows that each counts for.
        dim: d.
        minimum: fewest rows to combine.
        surroundings: what else is public about the round.

    Returns:
        update (d,), None if nothing was combined; accepted bool (n,); states.
    """
    accepted = torch.zeros(len(reputation), dtype=torch.bool)
    accepted[list(hospitals)] = True
    following = list(states)
    update: Secret | None = None
    if x is not None:
        context = Context(
            ops,
            x,
            tuple(hospitals),
            reputation,
            samples,
            accepted,
            reference,
            minimum=minimum,
            surroundings=surroundings,
        )
        del x  # gone from memory once a stage has made something else of it
        ended = True
        for index, step in enumerate(pipeline.stages):
            ended = context.enough_for(step.needs)
            if not ended:
                break
            context, following[index] = _applied(step, context, states[index], dim)
        accepted = context.accepted
        ended &= context.enough
        update = context.update if ended else None
        if update is None and ended:
            last = pipeline.stages[-1].config[0]
            raise InputError(f"the last stage must make the update; {last} does not")
    if update is not None and update.rows is not None and update.rows < minimum:
        update = None
    return update, accepted, tuple(following)


def _applied(step: Stage, context: Context, state: State, dim: int) -> tuple[Context, State]:
    """Run a stage; hold what it opens to what it declares, and what it leaves to what it was given.

    Raises:
        InputError: it opened something else, left rows that are not those of hospitals in play,
            remembers hospitals and was given groups of them, or is somebody's own and failed.
    """
    name = step.config[0] or "without a name"
    exits, rows = context.ops.exits, len(context.members)
    since = len(exits.opened)
    exits.allow(step.opens, rows, dim)
    lone = state is None or context.rows is None
    rule = f"one hospital's each for {step.config[0]}, which remembers them"
    require(lone, "rows", rule, context.rows)
    try:
        given = step.apply(context, state)
    except InputError as error:
        raise InputError(f"stage {name}: {error}") from error
    except SecureFLError:  # of these a node that is gone, which is nobody's mistake
        raise
    except MISTAKES as error:
        if step.config[0] and ":" not in step.config[0]:  # one that ships
            raise
        # Its words may quote a node's share, and a node sends this message to the coordinator.
        raise InputError(f"stage {name} failed with {type(error).__name__}") from error
    if not (isinstance(given, tuple) and len(given) == 2 and isinstance(given[0], Context)):
        got = type(given).__name__
        raise InputError(f"stage {name} must return its context and its state; got {got}")
    left, following = given
    exits.finish(step.opens, rows, dim, since)
    return _held(step, context, left, dim), following


def _held(step: Stage, before: Context, after: Context, dim: int) -> Context:
    """What a stage may change of a context: the rows, whose they are, flags and the update.

    All else stays as it was, the minimum above all, whatever the stage returns.
    """
    name = step.config[0]
    remaining = iter(before.hospitals)
    in_order = all(hospital in remaining for hospital in after.hospitals)
    rule = f"among {before.hospitals}, in this order"
    require(in_order, f"hospitals that stage {name} leaves", rule, after.hospitals)
    grouped = sorted(hospital for members in after.members for hospital in members)
    rule = f"the hospitals that it leaves, {after.hospitals}, each in one row"
    require(grouped == list(after.hospitals), f"members of rows that {name} leaves", rule, grouped)
    shape = (len(after.members), dim)
    rule = f"{shape}, a row for each hospital or group that it leaves"
    require(
        after.x.shape == shape,
        f"shape of the updates that stage {name} leaves",
        rule,
        after.x.shape,
    )
    return replace(
        before,
        x=after.x,
        hospitals=after.hospitals,
        rows=after.rows,
        accepted=after.accepted,
        update=after.update,
    )
