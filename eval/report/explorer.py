"""The explorer: every chain of a run as one page that opens from disk, without server or script."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from eval.report.pages import render_page
from eval.results.records import Row, cell_key, check_rows, run_name
from eval.results.style import (
    HONEST_COLOUR,
    MALICIOUS_COLOUR,
    NO_ATTACK,
    attack_label,
    defence_label,
    malicious_words,
)
from ledger.errors import LedgerError
from secure_fl.errors import InputError
from secure_fl.files import read_json, write_atomic

if TYPE_CHECKING:
    from ledger.audit.history import Block, Call, History
    from ledger.audit.round_record import RoundRecord

CHAIN = "chain.jsonl"
# Of the picture, in user units: it scales with the page.
WIDTH, HEIGHT = 720, 260
LEFT, RIGHT, TOP, BOTTOM = 44, 12, 12, 34
SCALE = 10**18


class Line(NamedTuple):
    """One hospital in the picture of reputations: points as SVG takes them."""

    hospital: int
    colour: str
    points: str
    suspended: list[tuple[str, str]]


class Picture(NamedTuple):
    """Reputations over rounds: lines, and ticks as (position, text)."""

    width: int
    height: int
    lines: list[Line]
    rounds: list[tuple[str, str]]
    levels: list[tuple[str, str]]


class Chain(NamedTuple):
    """One chain as the page shows it."""

    anchor: str
    title: str
    file: str
    facts: list[tuple[str, str]]
    picture: Picture | None
    malicious: list[int]
    rounds: list[dict[str, Any]]
    disputes: list[list[str]]
    blocks: list[list[str]]
    administration: list[tuple[int, str]]


def explorer_html(run_folder: Path) -> str:
    """Write ``explorer.html`` into a run folder; returns the page.

    Raises:
        InputError: a chain file or a cell of the run is malformed; the message names it.
    """
    page = explorer_page(run_folder)
    write_atomic(run_folder / "explorer.html", page.encode())
    return page


def explorer_page(run_folder: Path) -> str:
    """The page of a run's chains; raises as `explorer_html` does."""
    return render(run_name(run_folder), list(_chains(run_folder)))


def render(name: str, chains: Sequence[Chain]) -> str:
    """The page of a run's chains."""
    return render_page(
        "explorer.html",
        run=name,
        chains=chains,
        plot=(LEFT, WIDTH - RIGHT, TOP, HEIGHT - BOTTOM),
        honest=HONEST_COLOUR,
        malicious=MALICIOUS_COLOUR,
    )


def _chains(run_folder: Path) -> Iterable[Chain]:
    """The chains of the cells, then the one of the whole job."""
    from ledger.audit.history import read_history

    for folder in sorted((run_folder / "cells").glob("*")):
        path = folder / CHAIN
        if path.is_file():
            row = _row(folder / "cell.json")
            yield _chain(read_checked(read_history, path), _title(row, folder.name), path, row)
    whole = run_folder / CHAIN
    if whole.is_file():
        yield _chain(read_checked(read_history, whole), "The whole job", whole, {})


def read_checked(read: Any, path: Path) -> History:
    """Read a chain file; its faults are the caller's input."""
    try:
        history: History = read(path)
    except LedgerError as error:
        raise InputError(str(error)) from error
    return history


def _row(path: Path) -> Row:
    """The cell's summary row; empty where there is none."""
    if not path.is_file():
        return {}
    row = read_json(path)
    if not isinstance(row, dict):
        raise InputError(f"{path} must hold an object")
    row = check_rows([row])[0]
    cell_key(row)
    return row


def _title(row: Row, fallback: str) -> str:
    if not row:
        return fallback
    attack = str(row["attack"])
    text = f"{defence_label(row)}, {attack_label(attack).lower()}"
    share = malicious_words(float(row["malicious_fraction"]), row.get("hospitals"))
    return text if attack == NO_ATTACK else f"{text}, {share}"


def _chain(history: History, title: str, path: Path, row: Row) -> Chain:
    malicious = [int(hospital) for hospital in row.get("malicious") or []]
    calls = sum(len(block.calls) for block in history.blocks)
    seats = {role: len(keys) for role, keys in history.seats.items()}
    facts = [
        ("Head", _hex(history.head)),
        ("Head signed by", f"{len(history.sealed_by)} validators"),
        ("Blocks", str(len(history.blocks))),
        ("Transactions", str(calls)),
        # The initial model and the closing of a run are entries in which no hospital takes part.
        ("Rounds", str(sum(1 for record in history.rounds if record.commitments))),
        ("Hospitals", str(seats.get(2, 0))),
        ("Nodes", str(seats.get(3, 0))),
        ("Validators", str(seats.get(4, 0))),
        ("Chain id", str(history.chain_id)),
        ("Contract", _hex(history.contract)),
    ]
    if history.node_blocks is not None:
        first, last = history.node_blocks
        facts.append(("On a node", f"blocks {first} to {last} of its chain"))
    anchor = path.parent.name if row else "job"
    return Chain(
        anchor=anchor,
        title=title,
        file=f"{path.parent.parent.name}/{path.parent.name}/{path.name}" if row else path.name,
        facts=facts,
        picture=picture(history.rounds, malicious),
        malicious=malicious,
        rounds=[_round(record) for record in history.rounds],
        disputes=[line for record in history.rounds for line in _disputes(record)],
        blocks=[_block(block) for block in history.blocks],
        administration=history.administration,
    )


def picture(rounds: Sequence[RoundRecord], malicious: Iterable[int]) -> Picture | None:
    """Reputations after each finished round; None where no round was finished.

    Before the first round every hospital stands at the value it was registered with, which the
    first change tells.
    """
    finished = [record for record in rounds if record.round and record.reputations]
    if not finished:
        return None
    numbers = [record.round for record in finished]
    first, last = numbers[0], max(numbers[-1], numbers[0] + 1)

    def x(number: int) -> str:
        return f"{LEFT + (number - first) / (last - first) * (WIDTH - LEFT - RIGHT):.1f}"

    def y(reputation: float) -> str:
        return f"{TOP + (1 - reputation) * (HEIGHT - TOP - BOTTOM):.1f}"

    bad = set(malicious)
    lines = []
    # Honest hospitals first, so that the malicious ones are drawn over them.
    for hospital in sorted(range(len(finished[0].reputations)), key=lambda i: i in bad):
        held = [record for record in finished if hospital < len(record.reputations)]
        values = [(record.round, record.reputations[hospital] / SCALE) for record in held]
        out = [
            (x(record.round), y(record.reputations[hospital] / SCALE))
            for before, record in zip([None, *held], held, strict=False)
            if record.suspended[hospital] and not (before and before.suspended[hospital])
        ]
        lines.append(
            Line(
                hospital,
                MALICIOUS_COLOUR if hospital in bad else HONEST_COLOUR,
                " ".join(f"{x(number)},{y(value)}" for number, value in values),
                out,
            )
        )
    step = max(1, (last - first) // 8)
    return Picture(
        WIDTH,
        HEIGHT,
        lines,
        [(x(number), str(number)) for number in range(first, last + 1, step)],
        [(y(level / 4), f"{level / 4:g}") for level in range(5)],
    )


def _round(record: RoundRecord) -> dict[str, Any]:
    medians = record.medians
    reputations = [value / SCALE for value in record.reputations]
    return {
        "number": record.round,
        "status": record.status,
        "cells": [
            str(record.round),
            record.status,
            f"{record.blocks[0]} to {record.blocks[-1]}" if record.blocks else "",
            str(len(record.commitments)),
            str(len(record.accepted)),
            _names(record.rejected),
            "" if medians is None else f"{medians.accuracy / SCALE:.4f}",
            "" if medians is None else f"{medians.loss / SCALE:.4f}",
            "" if medians is None else f"{medians.f1 / SCALE:.4f}",
            f"{min(reputations):.3f}" if reputations else "",
            _names(i for i, out in enumerate(record.suspended) if out),
        ],
        "model": _hex(record.model),
        "candidate": _hex(record.candidate),
        "posted_root": _hex(record.posted_root),
        "commitments": [(i, _hex(root)) for i, root in sorted(record.commitments.items())],
        "changes": [
            (c.hospital, f"{c.before / SCALE:.4f}", f"{c.after / SCALE:.4f}", c.reason, c.suspended)
            for c in record.changes
        ],
    }


def _disputes(record: RoundRecord) -> list[list[str]]:
    """What was disputed in a round, in words."""
    lines = [
        [
            str(record.round),
            f"node {node} and hospital {hospital} over a share",
            f"hospital {hospital}" if at_fault else f"node {node}",
        ]
        for hospital, node, at_fault in record.disputes
    ]
    if record.status == "void":
        text = f"commitments not signed by hospitals {_names(record.forged)} under the root"
        lines.append([str(record.round), text, "the coordinator"])
    for hospital in record.claimed:
        text = f"hospital {hospital} left out of the root, put in by claim"
        lines.append([str(record.round), text, "nobody, by evidence"])
    for node, opened in sorted(record.opened.items()):
        missing = sorted(set(record.commitments) - set(opened))
        if missing:
            text = f"node {node} attests that shares of hospitals {_names(missing)} did not open"
            lines.append([str(record.round), text, ""])
    return lines


def _block(block: Block) -> list[str]:
    return [
        str(block.number),
        _hex(block.hash),
        str(block.timestamp),
        f"{block.gas_used:,}",
        "; ".join(_words(call) for call in block.calls),
        " ".join(_hex(call.hash) for call in block.calls),
    ]


def _words(call: Call) -> str:
    """A call in a few words."""
    sizes = {
        "commit_batch": ("commitments", "commitment"),
        "attest_batch": ("attestations", "attestation"),
        "attest_shares": ("attestations", "node"),
        "register": ("accounts", "member"),
    }
    text = "create the contract" if call.name == "__init__" else call.name
    if call.name in sizes:
        argument, unit = sizes[call.name]
        number = len(call.args[argument])
        return f"{text}: {number} {unit}{'' if number == 1 else 's'}"
    if "round" in call.args:
        return f"{text}: round {call.args['round']}"
    return text


def _names(hospitals: Iterable[int]) -> str:
    return ", ".join(str(hospital) for hospital in sorted(hospitals))


def _hex(data: bytes) -> str:
    return "0x" + data.hex() if data else ""
