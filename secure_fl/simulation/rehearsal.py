"""A rule and an attack tried on made-up updates, before anything runs."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from functools import cache

import torch

from attacks.base import Attack, overrides, trigger_moves
from attacks.view import knowledge_of
from secure_fl import seeds
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.faults import Fault, check_places
from secure_fl.federation import Federation
from secure_fl.hospital.training import check_device
from secure_fl.server.guard import RootDirections
from secure_fl.settings.feasible import check_defence, check_numbers
from secure_fl.simulation.attack_round import (
    begin,
    breaches,
    check_classes,
    crafted,
    of_shape,
    step_hooks,
    training_rows,
)
from secure_fl.simulation.context import RunContext, State
from secure_fl.simulation.hooks import HookFailed, hook
from secure_fl.simulation.labels import classes_of, label_of
from secure_fl.simulation.parties import make_server, minimum_hospitals
from secure_fl.simulation.round import scene_of
from secure_fl.simulation.run import RunConfig, make_context
from secure_fl.threads import torch_threads


def rehearse(runs: Sequence[RunConfig], federation: Federation) -> None:
    """Check rules, attacks and numbers of runs on one federation, before anything runs.

    A rule is tried with the run that has most malicious hospitals. Torch has as many threads as the
    runs are to have: more than one would wait for each other beside other runs.

    Raises:
        ConfigError, InputError: a rule or an attack that cannot work here; see `check_rule`,
            `dry_run` and `secure_fl.settings.feasible.check_numbers`.
    """
    most = {run.defence.name: run for run in sorted(runs, key=lambda run: run.malicious)}
    with torch_threads(max((run.experiment.threads for run in runs), default=1)):
        for run in most.values():
            check_rule(run, federation)
        for run in runs:
            dry_run(make_context(run, federation))
    for run in most.values():
        check_numbers(run.experiment, run.defence, federation.model.num_parameters)


def check_rule(run: RunConfig, federation: Federation) -> None:
    """Let the rule combine as many made-up updates as there can be in a round of the run.

    Raises:
        ConfigError: it cannot work with so many, or with the noise; see `check_defence`.
    """
    experiment = run.experiment
    for hospitals in experiment.participation.sizes(federation.hospitals):
        check_defence(
            run.defence,
            experiment.privacy,
            hospitals,
            federation.initial.numel(),
            experiment.extensions,
            minimum_hospitals(run.defence, experiment, run.malicious),
        )


# Hooks and facts that show an attack rows with their classes, or a network of classes.
_ASKING, _TELLING = ("poison", "poison_public"), ("model", "auxiliary")


def dry_run(context: RunContext) -> None:
    """Let the attack act on made-up updates, before anything runs.

    It acts among all hospitals, and as if suspensions had left one honest hospital, none, one
    malicious hospital, or that one alone. A schedule that lets it act in no planned round is
    warned of.

    Raises:
        ConfigError: its classes are not those of the data, it or the defence asks for one class of
            rows that have several labels, it cannot act among so many hospitals,
            it breaks a protocol that the defence does not have, or there is no device to train on.
        InputError: it returned updates of another shape, or values that are not finite.
    """
    check_device(context.options.device)
    attackers = context.attackers
    label = label_of(attackers.label, context.federation.data)
    if context.federation.data.multilabel:
        _check_labels(context)
    for part in attackers.parts:
        check_classes(part.attack, classes_of(context.federation.data, label))
        signs = context.defence.backend == "mpc" and context.defence.ledger
        breaks = overrides(part.attack, "misbehave") or overrides(part.attack, "corrupt")
        if breaks and attackers.count and not signs:
            raise ConfigError(
                f"attack {part.attack} breaks the protocol of nodes that sign: the defence must "
                f"have backend: mpc and ledger: true; {context.defence.name} has backend: "
                f"{context.defence.backend} and ledger: {str(context.defence.ledger).lower()}"
            )
        if attackers.count:
            deeds = [Fault(1, *deed) for deed in part.attack.corrupt()]
            check_places(deeds, 1, context.federation.hospitals, context.defence.nodes)
    for index in attackers.idle():
        part = attackers.parts[index]
        warnings.warn(
            f"attack {part.attack} acts in none of the {attackers.rounds} planned rounds: its "
            f"{part.schedule} never fires",
            stacklevel=2,
        )
    hospitals = context.federation.hospitals
    updates = 0.01 * torch.randn(
        (hospitals, context.federation.model.num_parameters),
        generator=seeds.torch_generator(0, "craft", 0),
        dtype=torch.float32,
    )
    first = [seat for members in attackers.members(1) for seat in members]
    for active in _rehearsed(first, hospitals):
        _act(context, updates, active, sum(seat in first for seat in active))


def _check_labels(context: RunContext) -> None:
    """Refuse what asks a row for its one class, where rows have several labels."""
    if context.defence.validation == "gate":
        raise ConfigError(
            f"defence {context.defence.name!r} has validation: gate, which balances classes: it "
            "does not take data with several labels a row"
        )
    named = context.attackers.label is not None
    for part in context.attackers.parts:
        if any(fact in _TELLING for fact in knowledge_of(part.attack.knowledge)):
            raise ConfigError(
                f"attack {part.attack} reads the network or rows by their class: it does not take "
                "data with several labels a row"
            )
        asks = any(overrides(part.attack, hook) for hook in _ASKING)
        if (asks or part.attack.objective not in ("none", "untargeted")) and not named:
            raise ConfigError(
                f"attack {part.attack} changes rows by their class: data with several labels a row "
                "need attack.target_label, one of "
                f"{', '.join(context.federation.data.class_names)}"
            )


def _act(context: RunContext, updates: torch.Tensor, active: list[int], malicious: int) -> None:
    """All hooks but those inside training, once; the server an attack may ask does not tune."""
    federation, defence = context.federation, context.defence
    if defence.validation == "gate":  # a tuning takes long, and changes no shape
        defence = replace(defence, guard={**defence.guard, "tuning": "none"})
    server = make_server(federation, defence, context.options, context.config.seed)
    nobody = torch.zeros(federation.hospitals, dtype=torch.bool)
    state = State(federation.initial, nobody, server=server.init(federation.initial))

    @cache
    def root() -> RootDirections:
        return RootDirections(updates[0], updates[:0], updates[0])

    scene = scene_of(context, state, 1, active, server, root)
    place = f"among {len(active)} hospitals, {malicious} of them malicious"
    acting = []
    try:
        acting = begin(scene, always=True)
        training_rows(scene, acting)
        for part in acting:
            _try_trigger(part.attack, federation.data.test.x[:2])
        for step in step_hooks(scene, acting):
            rows = updates[list(step.rows)]
            if step.constrain is not None:
                step.constrain(state.model + rows, rows, state.model, 0)
            if step.project is not None:
                step.project(state.model + rows, state.model, 0)
        sent, acting = crafted(scene, acting, updates)
        for part in acting:
            breaches(scene, part, context.defence.nodes)
    except HookFailed as error:
        raise error.at(place) from error.__cause__
    except SecureFLError:
        raise
    except (ValueError, ArithmeticError, LookupError, RuntimeError) as error:
        raise ConfigError(f"attack {_named(context)}, {place}: {error}") from error
    for part in acting:
        if part.attack.finite and not sent[list(part.seats)].isfinite().all():
            raise InputError(f"attack {part.attack} must return finite values; it does not {place}")


def _try_trigger(attack: Attack, x: torch.Tensor) -> None:
    """Put the trigger by which a backdoor is measured on some rows; one that moves is asked of
    what the attack remembers, in the rounds."""
    if attack.objective != "backdoor" or trigger_moves(attack):
        return
    with hook(attack, "trigger"):
        shown = attack.trigger(x.clone())  # type: ignore[attr-defined]
    of_shape(attack, "rows with the trigger", shown, x)


def _named(context: RunContext) -> str:
    return " and ".join(str(part.attack) for part in context.attackers.parts)


def _rehearsed(malicious: Sequence[int], hospitals: int) -> list[list[int]]:
    """Whom to try it with: everybody, and what suspensions may leave."""
    everybody = list(range(hospitals))
    honest = [i for i in everybody if i not in malicious]
    few = [[*honest[:1], *malicious], [*malicious], [*malicious[:1], *honest], [*malicious[:1]]]
    return [everybody, *(sorted(active) for active in few)]
