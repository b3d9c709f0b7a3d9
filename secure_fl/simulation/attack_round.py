"""What malicious hospitals do in a round, hook by hook (`attacks.base.Attack`)."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch

from attacks import Attack, AttackView
from attacks.base import in_sight, knows, overrides
from attacks.memory import EMPTY, Memory, checked
from attacks.view import knowledge_of, told
from secure_fl import seeds
from secure_fl.data import Split
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.faults import HOSPITAL_KINDS
from secure_fl.federation import Federation
from secure_fl.hospital.steps import StepHook
from secure_fl.simulation.cheating_hospital import CheatingHospital
from secure_fl.simulation.hooks import hook
from secure_fl.simulation.knowledge import Scene, facts
from secure_fl.simulation.labels import classes_of, label_of, put_back, seen

# Branches of the attackers' randomness, beside those of poisoning and crafting.
_BEGIN, _TRAIN, _BREAK, _ENCODE = range(4)


@dataclass(frozen=True, eq=False)
class Acting:
    """A part of the attack in a round in which it acts.

    Attributes:
        index: of the part.
        attack: what its members do.
        seats: its members that take part, ascending.
        memory: what it remembers now.
    """

    index: int
    attack: Attack
    seats: tuple[int, ...]
    memory: Memory = field(default_factory=lambda: EMPTY)


def begin(scene: Scene, always: bool = False) -> list[Acting]:
    """The parts that act in a round, each with its memory as it enters training.

    Args:
        scene: the round.
        always: whatever the schedules say.
    """
    attackers, number = scene.context.attackers, scene.number
    found = []
    for index, members in enumerate(attackers.members(number)):
        seats = tuple(seat for seat in members if seat in scene.active)
        if not seats or not (always or attackers.acts(index, number)):
            continue
        acting = Acting(index, attackers.parts[index].attack, seats)
        found.append(_awake(scene, acting))
    return found


def _awake(scene: Scene, acting: Acting) -> Acting:
    attack, known = acting.attack, scene.state.memories
    memory = known[acting.index] if acting.index < len(known) else None
    view = view_of(scene, acting, _rng(scene, acting, "attack", _BEGIN))
    if memory is None:
        with hook(attack, "init"):
            memory = attack.init(view)
        memory = _remembered(attack, memory)
    if overrides(attack, "prepare"):
        with hook(attack, "prepare"):
            memory = attack.prepare(replace(view, memory=memory))
        memory = _remembered(attack, memory)
    return replace(acting, memory=memory)


def _remembered(attack: Attack, memory: object) -> Memory:
    try:
        return checked(memory, f"attack {type(attack).__name__}")
    except TypeError as error:
        raise InputError(str(error)) from error


def _rng(scene: Scene, acting: Acting, purpose: str, *index: int) -> torch.Generator:
    """A generator of one part in one round; the first part's is that of a sole attack."""
    own = () if acting.index == 0 else (acting.index,)
    return seeds.torch_generator(scene.context.config.seed, purpose, scene.number, *index, *own)


def view_of(
    scene: Scene,
    acting: Acting,
    rng: torch.Generator,
    outside: Sequence[int] | None = None,
) -> AttackView:
    """What a part may know.

    Args:
        scene: the round.
        acting: the part.
        rng: its randomness.
        outside: seats whose updates it simulates first; default: all others that take part.
    """
    context = scene.context
    data = context.federation.data
    label = label_of(context.attackers.label, data)
    if outside is None:
        outside = [seat for seat in scene.active if seat not in acting.seats]
    clean = [seen(data.hospitals[seat], label) for seat in acting.seats]
    return AttackView(
        round=scene.number - 1,
        num_hospitals=len(scene.active),
        num_malicious=len(acting.seats),
        rng=rng,
        clip_norm=context.config.privacy.clip_norm,
        classes=classes_of(data, label),
        members=acting.seats,
        memory=acting.memory,
        rows=tuple((own.x, own.y) for own in clean),
        attack=type(acting.attack).__name__,
        facts=told(knowledge_of(acting.attack.knowledge), facts(scene, outside, acting.seats)),
    )


def check_classes(attack: Attack, count: int) -> None:
    """Hold the classes that an attack is after to those of the rows.

    Raises:
        ConfigError: one of them is none of the `count` classes.
    """
    classes = range(count)
    for key in ("source_class", "target_class"):
        value = getattr(attack, key, None)
        if value is not None and value not in classes:
            raise ConfigError(
                f"attack {attack}: {key} must be from 0 to {classes[-1]}, the classes of the rows"
            )


def poisoned(attack: Attack, split: Split, view: AttackView, label: int | None = None) -> Split:
    """One member's rows as the attack has it train on.

    Args:
        attack: that poisons them.
        split: clean.
        view: of the member.
        label: that the attack is after, of rows with several; the others stay as they are.

    Raises:
        ConfigError: the attack's parameters do not fit the data, or what it returns is no rows of
            these features with labels of these classes.
    """
    check_classes(attack, view.classes)
    own = seen(split, label)
    try:
        with hook(attack, "poison"):
            x, y = attack.poison(own.x, own.y, view)
    except SecureFLError:
        raise
    except ValueError as error:
        raise ConfigError(f"attack {attack}: {error}") from error
    try:
        changed = Split(x, y)
    except (InputError, AttributeError) as error:
        raise ConfigError(f"attack {attack} must return rows and labels: {error}") from error
    if changed.x.shape[1:] != own.x.shape[1:]:
        found = tuple(changed.x.shape[1:])
        raise ConfigError(f"attack {attack} must keep the shape of rows; it returned {found}")
    strange = sorted({*changed.y.unique().tolist()} - {*range(view.classes)})
    if changed.y.dim() == 1 and strange:
        raise ConfigError(
            f"attack {attack} must return labels from 0 to {view.classes - 1}; got {strange[0]}"
        )
    if label is not None and changed.y.shape != own.y.shape:
        raise ConfigError(
            f"attack {attack} adds rows or leaves some out: with attack.target_label nobody says "
            "which other labels these have"
        )
    return put_back(changed, split, label)


def poisoned_once(
    attack: Attack,
    federation: Federation,
    seats: Sequence[int],
    seed: int,
    clip_norm: float | None,
    label: int | None = None,
) -> dict[int, Split]:
    """Rows of an attack's members that stay as they are in all rounds, by seat.

    Args:
        attack: that poisons them.
        federation: with the clean rows of all hospitals.
        seats: the members, ascending.
        seed: of the run.
        clip_norm: see `AttackView`.
        label: see `poisoned`.
    """
    splits = federation.data.hospitals
    rows = tuple((own.x, own.y) for own in (seen(splits[seat], label) for seat in seats))
    return {
        seat: poisoned(
            attack,
            splits[seat],
            AttackView(
                round=0,
                num_hospitals=len(splits),
                num_malicious=len(seats),
                rng=seeds.torch_generator(seed, "poison", seat),
                clip_norm=clip_norm,
                classes=classes_of(federation.data, label),
                members=tuple(seats),
                rank=rank,
                rows=rows,
                attack=type(attack).__name__,
            ),
            label,
        )
        for rank, seat in enumerate(seats)
    }


def training_rows(scene: Scene, acting: Sequence[Acting]) -> list[Split]:
    """Rows that every hospital trains on in a round."""
    context = scene.context
    clean, splits = context.federation.data.hospitals, list(context.splits)
    label = label_of(context.attackers.label, context.federation.data)
    at_work = {seat for part in acting for seat in part.seats}
    for seat in context.malicious:
        if seat not in at_work:
            splits[seat] = clean[seat]
    for part in acting:
        if not overrides(part.attack, "poison"):
            continue
        if part.attack.every_round:
            for rank, seat in enumerate(part.seats):
                rng = seeds.torch_generator(context.config.seed, "poison", seat, scene.number)
                view = replace(view_of(scene, part, rng), rank=rank)
                splits[seat] = poisoned(part.attack, clean[seat], view, label)
        elif context.attackers.moving:
            seed, bound = context.config.seed, context.config.privacy.clip_norm
            once = poisoned_once(part.attack, context.federation, part.seats, seed, bound, label)
            for seat, split in once.items():
                splits[seat] = split
    return splits


def step_hooks(scene: Scene, acting: Sequence[Acting]) -> list[StepHook]:
    """What malicious hospitals do otherwise in local steps; rows count among those active."""
    place = {seat: row for row, seat in enumerate(scene.active)}
    hooks = []
    for part in acting:
        attack = part.attack
        if not overrides(attack, "constrain") and not overrides(attack, "project"):
            continue
        view = view_of(scene, part, _rng(scene, part, "attack", _TRAIN))
        hooks.append(
            StepHook(
                [place[seat] for seat in part.seats],
                _constrained(attack, view) if overrides(attack, "constrain") else None,
                _projected(attack, view) if overrides(attack, "project") else None,
            )
        )
    return hooks


def _constrained(
    attack: Attack, view: AttackView
) -> Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor]:
    def constrain(
        params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, step: int
    ) -> torch.Tensor:
        with hook(attack, "constrain"):
            given = attack.constrain(params, gradient, start, replace(view, step=step))
        return of_shape(attack, "constrain", given, gradient)

    return constrain


def _projected(
    attack: Attack, view: AttackView
) -> Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor]:
    def project(params: torch.Tensor, start: torch.Tensor, step: int) -> torch.Tensor:
        with hook(attack, "project"):
            given = attack.project(params, start, replace(view, step=step))
        return of_shape(attack, "project", given, params)

    return project


def of_shape(attack: Attack, name: str, given: object, like: torch.Tensor) -> torch.Tensor:
    """What a hook returned, held to a shape.

    Args:
        attack: whose hook.
        name: of what is returned, for the message.
        given: what it returned.
        like: a tensor of that shape.

    Raises:
        InputError: it is no tensor, or one of another shape.
    """
    shape = tuple(like.shape)
    if not isinstance(given, torch.Tensor):
        raise InputError(
            f"attack {attack} must return {name} as a tensor of shape {shape}; got "
            f"{type(given).__name__}"
        )
    if tuple(given.shape) != shape:
        raise InputError(
            f"attack {attack} must return {name} of shape {shape}; got {tuple(given.shape)}"
        )
    return given


def crafted(
    scene: Scene, acting: Sequence[Acting], updates: torch.Tensor
) -> tuple[torch.Tensor, list[Acting]]:
    """Replace the malicious hospitals' rows by what the attack sends: (n, d), and its memories.

    Where no honest hospital takes part, an attack that knows them sees its own in their place.

    Raises:
        InputError: the attack returned another shape, or remembers what cannot be stored.
    """
    at_work = {seat for part in acting for seat in part.seats}
    others = [seat for seat in scene.active if seat not in at_work]
    finite = [seat for seat in others if updates[seat].isfinite().all()]
    sent, after = updates.clone(), []
    for part in acting:
        own, attack = updates[list(part.seats)], part.attack
        informed = knows(attack, "honest")
        honest = in_sight(updates[others], own) if informed else own
        view = view_of(scene, part, _rng(scene, part, "craft"), finite if informed else None)
        with hook(attack, "craft"):
            given = attack.craft(honest.clone(), own.clone(), view)
        rows, memory = given if isinstance(given, tuple) else (given, part.memory)
        sent[list(part.seats)] = of_shape(attack, "updates", rows, own).to(sent.dtype)
        after.append(replace(part, memory=_remembered(attack, memory)))
    return sent, after


def instruct(scene: Scene, acting: Sequence[Acting], nodes: int) -> None:
    """Tell the attack's hospitals what to share in this round, and which breaches to commit."""
    hospitals = scene.context.hospitals
    told_so: dict[int, Mapping[int, str]] = {}
    encoders = {}
    for part in acting:
        for seat, kinds in breaches(scene, part, nodes).items():
            told_so[seat] = kinds
        if overrides(part.attack, "encode"):
            for rank, seat in enumerate(part.seats):
                encoders[seat] = partial(_encoded, scene, part, rank)
    for hospital in hospitals:
        if isinstance(hospital, CheatingHospital):
            own = told_so.get(hospital.number, {})
            hospital.instruct(scene.number, own, encoders.get(hospital.number))


def breaches(scene: Scene, part: Acting, nodes: int) -> dict[int, dict[int, str]]:
    """Breaches of the protocol that a part commits: kinds by seat and node.

    Raises:
        InputError: a kind, rank or node that does not exist.
    """
    if not overrides(part.attack, "misbehave"):
        return {}
    view = view_of(scene, part, _rng(scene, part, "attack", _BREAK))
    found: dict[int, dict[int, str]] = {}
    with hook(part.attack, "misbehave"):
        deeds = list(part.attack.misbehave(view))
    for rank, kind, node in deeds:
        good = kind in HOSPITAL_KINDS and 0 <= rank < len(part.seats) and 0 <= node < nodes
        if not good:
            raise InputError(
                f"attack {part.attack}: misconduct must be of a rank below {len(part.seats)}, of "
                f"kind {', '.join(HOSPITAL_KINDS)}, at a node below {nodes}; got "
                f"{(rank, kind, node)}"
            )
        found.setdefault(part.seats[rank], {})[node] = kind
    return found


def _encoded(
    scene: Scene, part: Acting, rank: int, integers: torch.Tensor, bits: int
) -> torch.Tensor:
    view = view_of(scene, part, _rng(scene, part, "attack", _ENCODE, rank))
    with hook(part.attack, "encode"):
        given = part.attack.encode(integers.clone(), bits, replace(view, rank=rank))
    if given.shape != integers.shape or given.dtype != integers.dtype:
        raise InputError(
            f"attack {part.attack} must encode int64 {tuple(integers.shape)}; got {given.dtype} "
            f"{tuple(given.shape)}"
        )
    return given


def remember(scene: Scene, acting: Sequence[Acting]) -> tuple[Memory | None, ...]:
    """Memories of all parts after a round."""
    known = dict(enumerate(scene.state.memories))
    known |= {part.index: part.memory for part in acting}
    return tuple(known.get(index) for index in range(len(scene.context.attackers.parts)))
