"""Checks of what a cell's nodes opened against what its rule declares.

Names, order, shapes and units of all openings of a round follow from the rule, the number of
hospitals in play and the number of coordinates. Only how many rows a screen leaves is a result; it
is read from the flags that the screen opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import torch

from eval.audit.records import CellRecords, Finding, Row
from secure_fl.aggregation.openings import THE_UPDATE, digest
from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.nodes.result_hash import RECORDED_NUMBERS
from secure_fl.types import Opening


def check_openings(cell: CellRecords, rule: Pipeline, dim: int, minimum: int) -> Iterator[Finding]:
    """Every round opened what the rule declares, and nothing else.

    Args:
        cell: the records.
        rule: of the cell's defence.
        dim: coordinates of an update.
        minimum: fewest hospitals that are combined.
    """
    for row in cell.rounds[1:]:
        opened = [opening for opening in cell.openings if opening["round"] == row["round"]]
        in_play = sum(flag is not None for flag in row["accepted"])
        fault = difference(opened, rule, in_play, dim, minimum)
        place = f"{cell.place}/openings.jsonl, round {row['round']}"
        if fault:
            yield Finding(place, fault)
        elif opened[-1].get("sha256") != row["update_sha256"]:
            yield Finding(f"{place}, update", "is not the round's update")


def difference(opened: Sequence[Row], rule: Pipeline, rows: int, dim: int, minimum: int = 1) -> str:
    """How one round's openings differ from the declaration, in words; empty if they do not.

    Args:
        opened: rows of `openings.jsonl`.
        rule: what was to be opened.
        rows: hospitals in play when the rule began.
        dim: coordinates of an update.
        minimum: with fewer rows in play no further stage runs, and the update is the public zero.
    """
    left, possible = list(opened), {rows}
    for stage in rule.stages:
        if not stage.opens:
            continue
        if min(possible) < minimum and len(left) <= 1:  # too few were left, and no stage ran
            break
        kept = possible
        for declared in stage.opens:
            if not left:
                return f"lack {declared.name!r}, which the rule opens"
            one = left.pop(0)
            size = one["shape"][0] if one["shape"] else 0
            count = size if declared.axes[:1] == ("row",) else max(possible)
            if count not in possible or count < max(minimum, 1):
                return f"open {one['name']!r} for {count} hospitals; {sorted(possible)} were left"
            fault = _against(one, declared.opening(count, dim))
            if fault:
                return fault
            kept = kept | _left(one) if declared.unit is None else kept
        possible = kept
    if len(left) != 1:
        return f"are {len(opened)}; the rule opens {len(opened) - len(left) + 1}"
    zero = digest(torch.zeros(dim, dtype=torch.float64))
    if max(possible) < minimum and left[0].get("sha256") != zero:
        return f"hold an update of {max(possible)} hospitals; {minimum} are combined at least"
    return _against(left[0], THE_UPDATE.opening(rows, dim))


def _left(one: Row) -> set[int]:
    """How many rows flags may leave: those that are set, or any number where none is recorded."""
    flags, count = one.get("value"), one["shape"][0]
    return set(range(count + 1)) if flags is None else {sum(flag == 1.0 for flag in flags)}


def _against(one: Row, due: Opening) -> str:
    found = (one["name"], tuple(one["shape"]), one["unit"])
    if found != (due.name, due.shape, due.unit):
        return f"open {found}; the rule declares {(due.name, due.shape, due.unit)}"
    numbers = 1
    for size in due.shape:
        numbers *= size
    if not isinstance(one.get("sha256"), str):
        return f"open {due.name!r} without its hash"
    values = one.get("value")
    if (values is None) == (numbers <= RECORDED_NUMBERS):
        return f"hold {'no' if values is None else 'the'} value of {due.name!r}, {numbers} numbers"
    if values is not None and len(values) != numbers:
        return f"hold {len(values)} numbers of {due.name!r}, which has {numbers}"
    return ""
