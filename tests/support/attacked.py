"""Six small hospitals, half of them malicious, and rounds that they play in the clear."""

from __future__ import annotations

from dataclasses import replace

import torch

from attacks import Attack
from secure_fl.backends.aggregate import open_backend
from secure_fl.federation import Federation
from secure_fl.simulation.attackers import Part
from secure_fl.simulation.context import RunContext, State
from secure_fl.simulation.knowledge import Scene
from secure_fl.simulation.parties import make_server, minimum_hospitals
from secure_fl.simulation.round import Played, local_updates, run_round, scene_of
from secure_fl.simulation.round_ledger import Nobody
from secure_fl.simulation.run import RunConfig, make_context
from tests.support import tiny_job

N = 6
EVERYBODY = list(range(N))


def settings(*overrides: str):
    return tiny_job.config(
        "data.hospitals=6",
        "defences=[fedavg]",
        "defence.backend=plain",
        "malicious=0.5",
        *overrides,
    )


def context_of(federation: Federation, *overrides: str, attack: Attack | None = None) -> RunContext:
    config = settings(*overrides)
    run = RunConfig(config, config.defences[0], config.attacks[0], 0.5)
    context = make_context(run, federation)
    if attack is None:
        return context
    attackers = replace(context.attackers, parts=(Part(attack),))
    return replace(context, attackers=attackers, splits=list(federation.data.hospitals))


def start(federation: Federation, **changes: object) -> State:
    return replace(State(federation.initial, torch.zeros(N, dtype=torch.bool)), **changes)


def sent(context: RunContext, state: State, number: int = 1) -> torch.Tensor:
    return local_updates(scene(context, state, number)).updates


def scene(context: RunContext, state: State, number: int) -> Scene:
    server = make_server(context.federation, context.defence, context.options, 0)
    return scene_of(context, state, number, EVERYBODY, server, lambda: None)


def rounds(context: RunContext, federation: Federation, count: int) -> list[Played]:
    """Some rounds with a plain mean, from the initial model."""
    server = make_server(federation, context.defence, context.options, 0)
    state, played = start(federation, server=server.init(federation.initial)), []
    least = minimum_hospitals(context.defence, context.config, context.attackers.count)
    with open_backend("plain", minimum_hospitals=least) as backend:
        session = backend.session(context.rule, context.hospitals, federation.initial.numel())
        for number in range(1, count + 1):
            played.append(run_round(context, server, Nobody(N), session, state, number))
            state = played[-1].state
    return played
