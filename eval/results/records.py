"""Read a finished run folder into plain values for tables, figures and the report."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ledger.files import printable
from secure_fl.errors import InputError
from secure_fl.files import read_json, read_lines
from secure_fl.settings.yaml_file import read_mapping
from secure_fl.simulation.folder import check_folder

Row = Mapping[str, Any]

# Longest text in a row: a hash, a label.
MAX_WORDS = 200
# What reading or drawing raises where a record is not of the form that a run writes.
MALFORMED = (LookupError, TypeError, AttributeError, ArithmeticError, ValueError)
# In the row of a cell with more than two classes: the quality of each, by its name.
BY_CLASS = "by_class"
REQUIRED = ("defence", "attack", "malicious_fraction", "accuracy")


@dataclass(frozen=True)
class Cell:
    """One defence against one attack: its summary row, its rounds and what MPC opened."""

    row: Row
    rounds: list[dict[str, Any]] = field(default_factory=list)
    openings: list[dict[str, Any]] = field(default_factory=list)


@dataclass(frozen=True)
class Run:
    """A run folder in memory."""

    name: str
    config: dict[str, Any]
    environment: dict[str, Any]
    summary: dict[str, Any]
    cells: tuple[Cell, ...]

    @property
    def rows(self) -> list[Row]:
        """Summary rows in the order of the cells."""
        return [cell.row for cell in self.cells]


def load_run(folder: Path) -> Run:
    """Load summary, configuration, environment and every cell of a run.

    Raises:
        InputError: a file is missing or malformed; the message names it, and the line.
    """
    check_folder(folder)
    summary = read_object(folder / "summary.json")
    rows = summary.get("rows")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{folder / 'summary.json'} must hold a non-empty list 'rows'")
    by_key = {cell_key(row): row for row in check_rows(rows)}
    cells: dict[tuple[Any, ...], Cell] = {}
    for path in sorted((folder / "cells").glob("*/cell.json")):
        row = read_row(path)
        key = cell_key(row)
        if key in by_key:
            rounds = _optional_lines(path.parent / "rounds.jsonl")
            openings = _optional_lines(path.parent / "openings.jsonl")
            cells[key] = Cell(by_key[key], rounds, openings)
    missing = [key for key in by_key if key not in cells]
    # A baseline without rounds (root only) may have a summary row and no folder of its own.
    cells.update({key: Cell(by_key[key]) for key in missing})
    return Run(
        name=run_name(folder),
        config=read_mapping(folder / "config.yaml"),
        environment=read_object(folder / "environment.json"),
        summary=summary,
        cells=tuple(cells[key] for key in by_key),
    )


def run_name(folder: Path) -> str:
    """The name that a run began with, whatever its folder is called now; else the folder's."""
    path = folder / "environment.json"
    name = read_object(path).get("run") if path.exists() else None
    return name if isinstance(name, str) else folder.name


def cell_key(row: Row) -> tuple[Any, ...]:
    """Identify a cell within its run."""
    return (row["defence"], row["attack"], row["malicious_fraction"], row.get("seed"))


def check_rows(rows: Iterable[Row]) -> list[Row]:
    """Return the rows as a list; refuse one that lacks a required key, naming row and key."""
    checked = list(rows)
    for index, row in enumerate(checked):
        absent = [key for key in REQUIRED if row.get(key) is None]
        if absent:
            raise InputError(f"rows[{index}] must have {', '.join(REQUIRED)}; lacks {absent}")
        check_words(row, f"rows[{index}]")
    return checked


def check_words(row: Row, place: str) -> None:
    """Hold the words of a row, which are printed and drawn, to what can be.

    Raises:
        InputError: one is too long, or holds what is no printable character.
    """
    for key, value in row.items():
        if isinstance(value, str) and not (value.isprintable() and len(value) <= MAX_WORDS):
            shown = printable(value[:MAX_WORDS])
            rule = f"at most {MAX_WORDS} printable characters"
            raise InputError(f"{place}, {printable(key)} must be {rule}; got '{shown}'")


def read_row(path: Path) -> dict[str, Any]:
    """The row in a cell's `cell.json`.

    Raises:
        InputError: it cannot be read, or lacks what every row has; the message names the file.
    """
    row = read_object(path)
    absent = [key for key in REQUIRED if row.get(key) is None]
    if absent:
        raise InputError(f"{path} must have {', '.join(REQUIRED)}; lacks {', '.join(absent)}")
    check_words(row, str(path))
    return row


def mean_of(records: Sequence[Mapping[str, Any]], *keys: str) -> float | None:
    """Mean of a nested numeric field over the records that have it; None where none has."""
    values = []
    for record in records:
        value: Any = record
        for key in keys:
            value = value.get(key) if isinstance(value, Mapping) else None
        if value is not None:
            values.append(float(value))
    return sum(values) / len(values) if values else None


def _optional_lines(path: Path) -> list[dict[str, Any]]:
    """Rows of a JSON-lines file; none if the cell has no such file."""
    return read_lines(path) if path.exists() else []


def read_object(path: Path) -> dict[str, Any]:
    """A JSON file that holds an object; anything else raises `InputError` naming the file."""
    content = read_json(path)
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold an object; got {type(content).__name__}")
    return content
