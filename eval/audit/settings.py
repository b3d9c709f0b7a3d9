"""Checks of one cell against the settings: how long it ran, under which contract, what it opened.

A record can be whole in itself and still be that of another experiment: fewer rounds, a contract
with other rules, a quorum of one. Here everything that the settings decide is derived from them
again and compared.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from eval.audit.openings import check_openings
from eval.audit.records import CellRecords, Finding, Row, check_row, differences, strange_keys
from eval.jobs import starting
from eval.jobs.environment import PARTIES, environment
from eval.jobs.plan import Cell
from ledger.audit.report import AuditReport
from ledger.members.members import ADMINISTRATOR, COORDINATOR, HOSPITAL, NODE, ROLE_NAMES, VALIDATOR
from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.errors import ConfigError
from secure_fl.files import sha256
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.folder import model_path, read_model
from secure_fl.simulation.parties import minimum_hospitals
from secure_fl.simulation.run import RunConfig

# Statuses of a round where a chain decides, and where nobody does.
DECIDED, UNDECIDED = ("accepted", "abnormal"), ("unchecked",)


def check_against_settings(cell: CellRecords, planned: Cell) -> Iterator[Finding]:
    """The cell's row, rounds and closing are what its settings ask for."""
    run = planned.run
    yield from check_row(cell, planned)
    yield from _check_length(cell, run)
    rule = permitted_rule(run)
    if rule is not None:
        initial = read_model(model_path(cell.folder, 0))
        least = minimum_hospitals(run.defence, run.experiment, run.malicious)
        yield from check_openings(cell, rule, initial.numel(), least)
    has_chain = cell.row.get("chain_head") is not None
    if run.defence.ledger != has_chain:
        fault = f"must{'' if run.defence.ledger else ' not'} name a chain: defence.ledger is "
        yield Finding(f"{cell.place}/cell.json, chain_head", f"{fault}{run.defence.ledger}")
    for number, row in enumerate(cell.rounds[1:], start=1):
        yield from _check_round(f"{cell.place}/rounds.jsonl line {number + 1}", row, run)
    statuses = DECIDED if run.defence.ledger else UNDECIDED
    closing, place = cell.closing, f"{cell.place}/closing.json"
    if closing["status"] not in statuses:
        yield Finding(f"{place}, status", f"is {closing['status']!r}, not one of {statuses}")
    last = cell.rounds[-1]["model_sha256"]
    if run.defence.validation != "gate" and closing["candidate_sha256"] != last:
        fault = "is not the model of the last round, and this defence tunes none after it"
        yield Finding(f"{place}, candidate_sha256", fault)


def permitted_rule(run: RunConfig) -> Pipeline | None:
    """The rule of a cell; None if it is not here, or nobody permitted it."""
    try:
        return run.defence.build(run.experiment.extensions)
    except ConfigError:
        return None


def _check_length(cell: CellRecords, run: RunConfig) -> Iterator[Finding]:
    """The cell has all its rounds, or ends where its own rule stops early."""
    played, wanted = cell.rounds[1:], run.experiment.rounds
    place = f"{cell.place}/rounds.jsonl"
    stops = [row["round"] for row in played if row["stopped"]]
    due = stopping_round(cell, run)
    if stops != ([] if due is None else [due]):
        said = f"say that rounds {stops} stopped the run" if stops else "say that no round did"
        rule = "none" if due is None else f"round {due}"
        yield Finding(f"{place}, stopped", f"the rows {said}; by the gate's rule {rule} does")
    end = wanted if due is None else min(due, wanted)
    if len(played) != end:
        why = "" if due is None else f", where the gate stops at round {due}"
        yield Finding(place, f"holds {len(played)} rounds; the settings ask for {wanted}{why}")


def stopping_round(cell: CellRecords, run: RunConfig) -> int | None:
    """The round at which the gate had been without gain for its patience, from the models' hashes.

    A round without gain proposes the model that stands; so does the gate's next one after the
    chain rolled its model back (`secure_fl.server.server.GuardedServer`). None where there is no
    gate, or where it never ran out of patience.
    """
    guard = run.defence.guard_options()
    if run.defence.validation != "gate" or not guard.gate:
        return None
    patience, stale = guard.patience, 0
    best = cell.rounds[0]["model_sha256"]
    for before, row in zip(cell.rounds, cell.rounds[1:], strict=False):
        kept = before["model_sha256"]
        rolled_back = kept != best
        gained = row["candidate_sha256"] != kept
        stale = 0 if gained else stale + 1 + rolled_back
        best = row["candidate_sha256"]
        if stale >= patience:
            return int(row["round"])
    return None


def _check_round(place: str, row: Row, run: RunConfig) -> Iterator[Finding]:
    statuses = DECIDED if run.defence.ledger else UNDECIDED
    if row["status"] not in statuses:
        yield Finding(f"{place}, status", f"is {row['status']!r}, not one of {statuses}")
    hospitals, flags = run.experiment.data.hospitals, row["accepted"]
    if len(flags) != hospitals:
        yield Finding(f"{place}, accepted", f"is on {len(flags)} hospitals of {hospitals}")
    present = run.experiment.participation.present(row["round"], hospitals, run.experiment.seed)
    strange = {i for i, flag in enumerate(flags) if flag is not None} | set(row["unopened"])
    if not strange <= set(present):
        fault = f"has hospitals {sorted(strange - set(present))}, whom the settings keep out"
        yield Finding(f"{place}, accepted", fault)
    kept_here = row["reputation"] is not None
    if kept_here != run.defence.ledger:
        yield Finding(f"{place}, reputation", f"must be null exactly without a ledger: {kept_here}")


def check_contract(cell: CellRecords, planned: Cell, chain: AuditReport) -> Iterator[Finding]:
    """The contract on the cell's chain was made with the settings' rule, limits and members."""
    experiment, place = planned.run.experiment, f"{cell.place}/chain.jsonl"
    settings = experiment.ledger
    for name, words in settings.build().words().items():
        held = chain.parameters.get(name)
        if held != words:
            yield Finding(
                f"{place}, {name}", f"the contract holds {held}; the settings give {words}"
            )
    seats = {
        COORDINATOR: 1,
        HOSPITAL: experiment.data.hospitals,
        NODE: planned.run.defence.nodes,
        VALIDATOR: experiment.data.validators,
    }
    for role, count in seats.items():
        held_seats = len(chain.seats[role])
        if held_seats != count:
            fault = f"seats {held_seats}; the settings ask for {count}"
            yield Finding(f"{place}, {ROLE_NAMES[role]}s", fault)
    if settings.keystore is not None and chain.threshold != settings.threshold:
        fault = f"{chain.threshold} of {len(chain.seats[ADMINISTRATOR])} administrators approve; "
        yield Finding(f"{place}, threshold", f"{fault}the settings ask for {settings.threshold}")
    first = min((record.blocks[0] for record in chain.rounds if record.blocks), default=None)
    for block, change in chain.administration:
        # On a node that mines by the clock members may be seated in the block of the first round.
        if first is not None and block > first:
            yield Finding(f"{place}, block {block}", f"{change} during the rounds; a run does not")
    by_root = [record.round for record in chain.rounds if record.posted_root]
    if by_root and settings.mode == "each":
        yield Finding(place, f"posts one root in rounds {by_root}; ledger.mode is each")
    committed = [r.round for r in chain.rounds if r.commitments and not r.posted_root]
    if committed and settings.mode == "merkle":
        yield Finding(place, f"posts no root in rounds {committed}; ledger.mode is merkle")


def check_environment(
    found: Row, config: ExperimentConfig, run: Path, cells: Sequence[CellRecords]
) -> Iterator[Finding]:
    """The record of how the run began fits its settings, and all cells ran on the same data."""
    expected: dict[str, Any] = {
        "seeds": {"root": config.seed},
        "threads": config.threads,
        starting.CONFIG_HASH: sha256((run / "config.yaml").read_bytes()),
    }
    yield from differences(starting.ENVIRONMENT, found, expected, "the settings", 0.0)
    written = {*environment(config, ""), "run", starting.CONFIG_HASH, starting.DATA_HASH, PARTIES}
    yield from strange_keys(starting.ENVIRONMENT, found, written)
    data = found.get(starting.DATA_HASH)
    for cell in cells:
        own = cell.rounds[0].get(starting.DATA_HASH)
        if own != data:
            fault = f"is {own}; {starting.ENVIRONMENT} says {data}"
            yield Finding(f"{cell.place}/rounds.jsonl line 1, {starting.DATA_HASH}", fault)
