"""Triggers that change over rounds: the files they are kept in, and how each was learned.

Success is measured with the trigger of the round, so a record that could choose it could choose its
figures. The hash of each stands in the round's row, and each is learned again here from the one
before it, the model before it and the seed.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch

from attacks import Attack
from attacks.base import overrides, trigger_moves
from attacks.memory import Memory
from attacks.view import knowledge_of
from eval.audit.records import CellRecords, Finding
from eval.jobs.plan import Cell
from secure_fl.federation import Federation
from secure_fl.files import sha256
from secure_fl.simulation.attack_round import begin
from secure_fl.simulation.context import RunContext, State
from secure_fl.simulation.folder import (
    TRIGGER_HASH,
    model_path,
    read_model,
    read_trigger,
    trigger_path,
)
from secure_fl.simulation.parties import make_server
from secure_fl.simulation.round import scene_of, taking_part
from secure_fl.simulation.run import make_context

# Largest distance of a trigger from the same learned again, as a share of the way that it went:
# its last digits may differ between processors, and steps by signs carry them further.
TOLERANCE = 0.05
# Facts that a record's models and rows lead back to.
_RECORDED = frozenset({"model", "reputations", "auxiliary", "benign"})


def check_triggers(cell: CellRecords) -> Iterator[Finding]:
    """Each trigger has the hash that its round's row states, and none is there unasked."""
    expected = {
        trigger_path(cell.folder, row["round"]): row[TRIGGER_HASH]
        for row in cell.rounds
        if TRIGGER_HASH in row
    }
    for path, stated in expected.items():
        place = f"{cell.place}/triggers/{path.name}"
        if not path.is_file():
            yield Finding(place, "is missing")
        elif sha256(path.read_bytes()) != stated:
            yield Finding(place, "is not the trigger whose hash the records state")
    folder = cell.folder / "triggers"
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if path not in expected:
            yield Finding(f"{cell.place}/triggers/{path.name}", "belongs to no round")


def recorded(cell: CellRecords, number: int) -> Memory | None:
    """What the attack of a cell remembered after a round; None where no trigger changes.

    Raises:
        InputError: the row names a trigger that cannot be read.
    """
    found = TRIGGER_HASH in cell.rounds[number]
    return read_trigger(cell.folder, number) if found else None


def check_learned(
    cell: Cell, records: CellRecords, attack: Attack, federation: Federation
) -> Iterator[Finding]:
    """Each round's trigger is what the attack learns from the state before it."""
    moves = trigger_moves(attack) and not cell.run.clean
    context = make_context(cell.run, federation) if moves else None
    for number, row in enumerate(records.rounds):
        place = f"{records.place}/rounds.jsonl line {number + 1}, {TRIGGER_HASH}"
        before = recorded(records, number - 1) if number else None
        due = before
        if number and context is not None and relearned(attack):
            due = _learned(context, records, number, before)
        if due is None and TRIGGER_HASH in row:
            yield Finding(place, "is stated, though no trigger was learned by then")
        if due is None:
            continue
        if TRIGGER_HASH not in row:
            yield Finding(place, "is missing: the attack has a trigger that changes")
        elif relearned(attack):
            yield from _compared(place, before, recorded(records, number), due)


def relearned(attack: Attack) -> bool:
    """Whether the records hold all that an attack's trigger is learned from."""
    return knowledge_of(attack.knowledge) <= _RECORDED and not overrides(attack, "craft")


def _learned(
    context: RunContext, records: CellRecords, number: int, before: Memory | None
) -> Memory | None:
    """What the attack remembers as it enters a round's training, or as before where it rests."""
    last = records.rounds[number - 1]
    hospitals = context.federation.hospitals
    suspended = torch.zeros(hospitals, dtype=torch.bool)
    suspended[last.get("suspended", [])] = True
    state = State(
        read_model(model_path(records.folder, number - 1)),
        suspended,
        reputation=last.get("reputation"),
        accepted=last.get("accepted"),
        memories=(before,),
    )
    active = taking_part(context, state, number)
    server = make_server(
        context.federation, context.defence, context.options, context.config.seed
    )  # nobody asks it: `relearned`
    scene = scene_of(context, state, number, active, server, lambda: None)
    acting = begin(scene) if active else []
    return next((part.memory for part in acting if part.index == 0), before)


def _compared(
    place: str, before: Memory | None, found: Memory | None, due: Memory
) -> Iterator[Finding]:
    """Findings where a memory is not the one that is due."""
    if found is None or found.keys() != due.keys():
        yield Finding(place, f"names a file without {', '.join(sorted(due))}")
        return
    for name, value in due.items():
        mine = found[name]
        if not isinstance(value, torch.Tensor):
            if mine != value:
                yield Finding(place, f"has {name} {mine!r}; learned again it is {value!r}")
            continue
        if not isinstance(mine, torch.Tensor) or mine.shape != value.shape:
            yield Finding(place, f"has {name} of another shape than the attack's")
            continue
        start = torch.zeros_like(value) if before is None else before[name]
        way = float((value.double() - start.double()).norm())
        apart = float((value.double() - mine.double()).norm())
        if not apart <= TOLERANCE * way:
            fault = f"has {name} {apart:.3g} from what is learned again, {way:.3g} from before"
            yield Finding(place, fault)
