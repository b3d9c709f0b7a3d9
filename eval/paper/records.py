"""What the documents' numbers come from: rows of finished runs, kept in `docs/results/`.

`table2.json` is copied from the folder of `secure-fl paper`, `report/` is such a folder as a whole,
`matrix.csv` is from that of `secure-fl matrix`, `mpc.json` what `secure-fl bench mpc` printed.
`runs.json` holds, by a name, what a document tells of a run: the command, when and on which
versions, and of each cell a few columns.
"""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from eval.figures.matrix import draw_matrix
from eval.jobs.plan import plan
from eval.paper.cost import COLUMNS as COSTS
from eval.paper.data_files import MADE
from eval.paper.mpc_costs import COLUMNS as MPC_COSTS
from eval.paper.mpc_costs import KINDS
from eval.paper.rows import COLUMNS, JUDGED
from eval.results.matrix import Matrix, from_csv, joined, to_csv
from eval.results.records import read_object, read_row
from secure_fl.errors import InputError, require
from secure_fl.files import read_json, read_lines, write_atomic, write_json
from secure_fl.settings.config import read_config

Row = dict[str, Any]

RESULTS, RUNS = "docs/results", "runs.json"
FIGURES = "docs/figures"
# A whole report, and what of its folder is kept.
REPORT = "docs/results/report"
PIECES = ("paper.md", "paper.tex", "*.json", "*.csv", "figures/*.png")


class Kept(NamedTuple):
    """A table that is kept out of a folder of `secure-fl paper`.

    Attributes:
        source: name of its rows there.
        columns: of a row.
        pictures: its figures there, as a pattern; empty keeps none.
    """

    source: str
    columns: tuple[str, ...]
    pictures: str = ""


TABLES = {
    "table2": Kept("table2", COLUMNS, "table2_*_beside_paper.png"),
    "table3": Kept("table3", COSTS, "table3_*_round_time.png"),
    "defence": Kept("defence", JUDGED, "defence_support2-200_attacks.png"),
    "held_out": Kept("defence", JUDGED),
    "layers": Kept("defence", JUDGED),
    "tuning_aware": Kept("defence", JUDGED),
}
# The run whose figures are kept, and which.
MAIN, PICTURES = "main", ("attack_success.png", "accuracy_over_rounds.png", "reputation.png")
MATRIX, MPC = "matrix.csv", "mpc.json"
# Heat maps of it that a document shows.
MAPS = {
    "accuracy": "matrix_accuracy.png",
    "attack_success_excess": "matrix_attack_success_excess.png",
}
# Of each cell's row.
KEPT = (
    *("defence", "label", "attack", "malicious_fraction", "seed", "accuracy", "auc"),
    "recall_at_even_odds",
    *("attack_success_excess", "rounds_run", "mpc_bytes_online", "mpc_bytes_offline"),
    "ledger_ms_per_round",
)
# Of a run's environment.
PACKAGES = ("secure-fl-crypten", "torch", "numpy")
# What tells the rows of a table apart.
_WHICH = ("task", "data", "method", "attack", "malicious", "seed")
# What every row of `secure-fl bench mpc` has, peers' too.
_MEASURED = ("method", "hospitals", "dim", "nodes", "seconds_online", "seconds_offline", "rounds")
_NAME = re.compile(r"[a-z][a-z0-9-]*")


def take_run(root: Path, name: str, folders: Sequence[Path]) -> None:
    """Keep the rows of a run's cells under a name, in the place of what had it before.

    Args:
        root: of the repository.
        name: by which documents know it.
        folders: of the run; others have cells that the first, whose settings name all, lacks.

    The figures of the main job are kept with them.

    Raises:
        InputError: a name or a folder that cannot be.
    """
    good = _NAME.fullmatch(name) is not None
    require(good, "name", "of small letters, digits and hyphens", name)
    rows: dict[str, Row] = {}
    commands = []
    for folder in folders:
        begun = read_object(folder / "environment.json")
        versions = {key: begun["packages"][key] for key in PACKAGES if key in begun["packages"]}
        told = {"command": command_of(begun["command"]), "created": begun["created"]}
        commands.append(told | {"packages": versions})
        for path in sorted((folder / "cells").glob("*/cell.json")):
            row = read_row(path)
            kept_of = {key: row[key] for key in KEPT if row.get(key) is not None}
            rows.setdefault(path.parent.name, kept_of)
    if not rows:
        raise InputError(f"{', '.join(map(str, folders))} must hold cells of a run; there are none")
    planned = [cell.name for cell in plan(read_config(folders[0] / "config.yaml"))]
    listed = sorted(rows, key=lambda cell: planned.index(cell) if cell in planned else len(planned))
    place = root / RESULTS / RUNS
    kept = read_object(place) if place.exists() else {}
    kept[name] = {"runs": commands, "rows": [rows[cell] for cell in listed]}
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, {key: kept[key] for key in sorted(kept)})
    if name == MAIN:
        _copy(root / FIGURES, [folders[0] / "figures" / each for each in PICTURES])


def command_of(typed: str) -> str:
    """A command of `secure-fl` as it is typed anywhere: without where its results went, and by how
    many processes."""
    words = shlex.split(typed)[1:]
    for option in ("--out", "--jobs"):
        if option in words:
            place = words.index(option)
            del words[place : place + 2]
    return shlex.join(["secure-fl", *words])


def take_table(root: Path, name: str, folders: Sequence[Path]) -> None:
    """Keep a table's rows out of a folder of `secure-fl paper`, how they were made, and its figure.

    Args:
        root: of the repository.
        name: one of `TABLES`.
        folders: of the command; others have rows that the ones before lack. How the table was made
            is told as of the first, with the commands of all, a line each, and under `parts` on
            which versions each ran.

    Raises:
        InputError: a folder has no such table, or one of other columns.
    """
    kept = TABLES[name]
    rows: dict[tuple[Any, ...], Row] = {}
    parts = []
    for folder in folders:
        for row in _checked(folder / f"{kept.source}.json", kept.columns):
            rows.setdefault(tuple(row.get(key) for key in _WHICH), row)
        made = read_object(folder / f"{kept.source}.made.json")
        parts.append({**made, "command": command_of(made["command"])})
    (root / RESULTS).mkdir(parents=True, exist_ok=True)
    write_json(root / RESULTS / f"{name}.json", list(rows.values()))
    told = dict(parts[0])
    if len(parts) > 1:
        told |= {"command": "\n".join(part["command"] for part in parts), "parts": parts}
    write_json(root / RESULTS / f"{name}.made.json", told)
    if kept.pictures:
        for folder in folders:
            _copy(root / FIGURES, sorted((folder / "figures").glob(kept.pictures)))


def take_report(root: Path, folder: Path) -> None:
    """Keep a whole report of `secure-fl paper` in the place of the one before, but for its HTML.

    Args:
        root: of the repository.
        folder: of the command.

    Raises:
        InputError: the folder has no report.
    """
    if not (folder / PIECES[0]).is_file():
        raise InputError(f"{folder} must be a folder of secure-fl paper; it has no {PIECES[0]}")
    place = root / REPORT
    if place.exists():
        shutil.rmtree(place)
    for file in sorted(file for piece in PIECES for file in folder.glob(piece)):
        _copy(place / file.parent.relative_to(folder), [file])


def report(root: Path) -> Mapping[str, Any]:
    """How the report that is kept was made.

    Raises:
        InputError: there is none.
    """
    made = read_object(root / REPORT / MADE)
    return {**made, "command": command_of(made["command"])}


def _copy(place: Path, files: Sequence[Path]) -> None:
    place.mkdir(parents=True, exist_ok=True)
    for file in files:
        if not file.is_file():
            raise InputError(f"{file} must be a figure; there is none")
        write_atomic(place / file.name, file.read_bytes())


def take_matrix(root: Path, folders: Sequence[Path]) -> None:
    """Keep the means of folders of `secure-fl matrix`, and the heat maps that are shown.

    Args:
        root: of the repository.
        folders: of the command; others have attacks or rules that the ones before lack. The place
            where a matrix is kept is such a folder too.

    Raises:
        InputError: a folder has none, or one of another form or of other shares and seeds.
    """
    whole = joined([_read(folder / MATRIX) for folder in folders])
    (root / RESULTS).mkdir(parents=True, exist_ok=True)
    (root / FIGURES).mkdir(parents=True, exist_ok=True)
    write_atomic(root / RESULTS / MATRIX, to_csv(whole).encode())
    drawn = draw_matrix(whole)
    for key, name in MAPS.items():
        write_atomic(root / FIGURES / name, drawn[key])


def matrix(root: Path) -> Matrix:
    """The matrix that is kept.

    Raises:
        InputError: the file is not there, or of another form.
    """
    return _read(root / RESULTS / MATRIX)


def _read(path: Path) -> Matrix:
    if not path.is_file():
        raise InputError(f"{path} must be the table of a matrix; there is none")
    return from_csv(path.read_text(encoding="utf-8"))


def take_mpc(root: Path, kind: str, file: Path) -> None:
    """Keep what `secure-fl bench mpc --json` printed, in the place of what was kept of its kind.

    Args:
        root: of the repository.
        kind: one of `KINDS`.
        file: of the printed lines.

    Raises:
        InputError: another kind, no rows, or a row that lacks a column.
    """
    require(kind in KINDS, "kind", f"one of {', '.join(KINDS)}", kind)
    rows = read_lines(file)
    for index, row in enumerate(rows):
        absent = ", ".join(key for key in _MEASURED if key not in row)
        require(not absent, f"{file.name}[{index}]", "a row of bench mpc", f"one without {absent}")
    require(bool(rows), file.name, "with rows", "none")
    place = root / RESULTS / MPC
    kept = mpc(root) if place.exists() else {}
    kept[kind] = [{key: row.get(key) for key in MPC_COSTS} for row in rows]
    place.parent.mkdir(parents=True, exist_ok=True)
    write_json(place, {key: kept[key] for key in KINDS if key in kept})


def mpc(root: Path) -> dict[str, list[Row]]:
    """Rows of what rules cost under MPC, by their kind.

    Raises:
        InputError: the file is not there or not of this form.
    """
    return {kind: list(rows) for kind, rows in read_object(root / RESULTS / MPC).items()}


def runs(root: Path) -> dict[str, list[Row]]:
    """Rows by the name of their run.

    Raises:
        InputError: the file is not there or not of this form.
    """
    return {name: list(each["rows"]) for name, each in read_object(root / RESULTS / RUNS).items()}


def table(root: Path, name: str) -> tuple[list[Row], Mapping[str, Any]]:
    """Rows of a table that is kept (`TABLES`), and how they were made.

    Raises:
        InputError: a file is not there, or a row has other columns.
    """
    rows = _checked(root / RESULTS / f"{name}.json", TABLES[name].columns)
    return rows, read_object(root / RESULTS / f"{name}.made.json")


def _checked(path: Path, columns: Sequence[str]) -> list[Row]:
    rows = read_json(path)
    for index, row in enumerate(rows):
        good = isinstance(row, dict) and set(row) == set(columns)
        require(good, f"{path.name}[{index}]", f"with {', '.join(columns)}", row)
    return list(rows)
