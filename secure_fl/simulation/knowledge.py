"""The facts that attacks may be told in a round; each is handed over only where it is declared."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from attacks.view import Outcome
from secure_fl import seeds
from secure_fl.hospital.training import clip, train
from secure_fl.server.guard import RootDirections
from secure_fl.server.server import Server, Step
from secure_fl.simulation.clear_rule import ClearRule
from secure_fl.simulation.context import RunContext, State
from secure_fl.types import AggregateResult

Facts = Mapping[str, Callable[[], Any]]


@dataclass(frozen=True)
class Scene:
    """A round as it begins.

    Attributes:
        context, state: of the run.
        number: of the round, from 1.
        active: seats that take part, ascending.
        rule: gives the rule in the clear; called only for an attack that knows it.
        server: of the run; it keeps nothing, so that asking it does not disturb the run.
        root: gives the round's root directions.
    """

    context: RunContext
    state: State
    number: int
    active: Sequence[int]
    rule: Callable[[], ClearRule]
    server: Server
    root: Callable[[], RootDirections | None]


def held(updates: torch.Tensor, limit: float) -> torch.Tensor:
    """Rows held inside the range that a share can encode.

    A row outside it is refused at the door and harms nobody; an attacker who wants to be counted
    sends the largest value that passes. NaN stays NaN, and is refused.
    """
    edge = limit - 2.0**-16
    return updates.clamp(-edge, edge)


def facts(scene: Scene, outside: Sequence[int], seats: Sequence[int]) -> Facts:
    """All facts of a round for an attack of some seats, each computed when it is first read.

    Args:
        scene: the round.
        outside: seats whose updates `simulate` is given first.
        seats: of the attack that take part, ascending.
    """
    context, state = scene.context, scene.state
    hospitals, dim = context.federation.hospitals, state.model.numel()
    root = context.federation.data.root

    def simulate(updates: torch.Tensor) -> Outcome:
        return _simulated(scene, outside, seats, updates)

    def published(update: torch.Tensor) -> torch.Tensor:
        step = _stepped(scene, update)
        return scene.server.finish(step.candidate, step.state).clone()

    @cache
    def benign() -> torch.Tensor:
        seed = context.config.seed
        return train(
            context.federation.model,
            state.model,
            [context.federation.data.hospitals[i] for i in seats],
            context.options,
            [seeds.integer(seed, "training", scene.number, i) for i in seats],
        )

    update = torch.zeros(dim, dtype=torch.float64) if state.update is None else state.update
    trust = [1.0] * hospitals if state.reputation is None else state.reputation
    return {
        "global_model": state.model.clone,
        "network": lambda: context.federation.model,
        "defence": lambda: context.defence.name,
        "rule": context.rule.to_config,
        "limit": lambda: context.rule.limit,
        "simulate": lambda: simulate,
        "candidate": lambda: lambda update: _stepped(scene, update).candidate.clone(),
        "publish": lambda: published,
        "reputation": lambda: torch.tensor(trust, dtype=torch.float64),
        "suspended": state.suspended.clone,
        "accepted": lambda: list(state.accepted or [None] * hospitals),
        "previous_update": update.clone,
        "benign": lambda: benign().clone(),
        "auxiliary": lambda: (root.x.clone(), root.y.clone()),
    }


def _simulated(
    scene: Scene, outside: Sequence[int], seats: Sequence[int], updates: torch.Tensor
) -> Outcome:
    """What the rule makes of rows of `outside` and then of `seats`."""
    wanted = len(outside) + len(seats)
    stand_ins = (
        len(updates) - len(seats) if not outside else 0
    )  # for honest ones that are not there
    if len(updates) - stand_ins != wanted or stand_ins < 0:
        raise ValueError(
            f"updates to simulate must have {wanted} rows, {len(outside)} of other hospitals and "
            f"then {len(seats)} of the attack's own; got {len(updates)}"
        )
    sent = updates[stand_ins:].detach().double()
    privacy, own = scene.context.config.privacy, len(outside)
    if privacy.clip_norm is not None:
        bound = len(sent) if privacy.bind_malicious else own
        sent = torch.cat([clip(sent[:bound], privacy.clip_norm), sent[bound:]])
    sent = torch.cat([sent[:own], held(sent[own:], scene.context.rule.limit)])
    listed = [*outside, *seats]
    by_seat = sorted(range(len(listed)), key=listed.__getitem__)
    update, accepted, _ = scene.rule().combine(sent[by_seat], sorted(listed))
    return Outcome(update, accepted[listed])


def _stepped(scene: Scene, update: torch.Tensor) -> Step:
    """The server's answer to a combined update, from its state of this round."""
    dim = scene.state.model.numel()
    if update.shape != (dim,):
        raise ValueError(f"update must be of shape ({dim},); got {tuple(update.shape)}")
    everybody = torch.ones(scene.context.federation.hospitals, dtype=torch.bool)
    result = AggregateResult(update.detach().double(), everybody, [])
    return scene.server.step(scene.state.model, result, scene.root(), scene.state.server)
