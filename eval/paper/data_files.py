"""The numbers behind tables and curves as files: JSON with a row a cell, CSV a line a round."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from eval.jobs.environment import environment
from eval.paper.cost import COLUMNS as COSTS
from eval.paper.rows import Row, compared, judged, published
from secure_fl.files import write_atomic, write_json
from secure_fl.settings.config import load_config

# Parts with one row a cell, in the columns of table 2.
BY_CELL = ("table2", "section41", "fig4", "adaptive")
REPUTATIONS = ("reputation_honest", "reputation_malicious")
# Parts that draw over rounds, and what.
BY_ROUND: Mapping[str, tuple[str, ...]] = {
    "fig3": ("test_accuracy", "attack_success"),
    "reputation": REPUTATIONS,
    "fig5": ("test_accuracy", "attack_success"),
    "drift": ("drift",),
}
# How the whole report was made.
MADE = "paper.made.json"
# What tells the cells of one file apart.
WHICH = ("data", "method", "attack", "malicious", "seed", "round")


@dataclass(frozen=True)
class Made:
    """What was asked for.

    Attributes:
        data: data sets.
        seeds: of each.
        settings: beyond the parts' own.
        mpc: whether the methods ran under MPC.
        command: as the user typed it.
        tasks: of parts that show them.
    """

    data: Sequence[str]
    seeds: Sequence[int]
    settings: Sequence[str]
    mpc: bool
    command: str
    tasks: Sequence[str] = ()


def write_data(folder: Path, rows: Mapping[str, Sequence[Row]], made: Made) -> None:
    """Write each part's numbers, `PART.json` with `PART.made.json`, or `PART.csv`; and `MADE`.

    Args:
        folder: existing.
        rows: of each part, from `eval.paper.cells.run_parts`.
        made: what was asked for.
    """
    write_json(folder / MADE, _about(made))
    for name in BY_CELL:
        if rows.get(name):
            write_json(folder / f"{name}.json", published(compared(rows[name])))
            write_json(folder / f"{name}.made.json", _how(made, rows[name]))
    if rows.get("table3"):
        kept = [{key: row[key] for key in COSTS} for row in rows["table3"]]
        write_json(folder / "table3.json", kept)
        write_json(folder / "table3.made.json", _how(made, rows["table3"]) | {"mpc": True})
    if rows.get("defence"):
        write_json(folder / "defence.json", judged(rows["defence"]))
        write_json(folder / "defence.made.json", _how(made, rows["defence"]))
    for name, series in BY_ROUND.items():
        if rows.get(name):
            write_atomic(folder / f"{name}.csv", by_round(rows[name], series).encode())


def measured_parts(folder: Path) -> list[str]:
    """Names of the parts whose numbers a folder has, by this command or an earlier one."""
    there = {path.name for path in folder.iterdir()}
    names = (*BY_CELL, "table3", "defence", *BY_ROUND)
    return [name for name in names if there & {f"{name}.json", f"{name}.csv"}]


def by_round(rows: Sequence[Row], series: Sequence[str]) -> str:
    """CSV with a line a round of each cell: `WHICH`, then the series.

    Six significant digits; nothing where a series has no value. A series of `REPUTATIONS` is the
    median of the honest or of the malicious hospitals, and cells without reputations are left out.

    Args:
        rows: of cells (`eval.jobs.watched.told`).
        series: keys of a row's `history`, or of `REPUTATIONS`.
    """
    text = io.StringIO()
    lines = csv.writer(text, lineterminator="\n")
    lines.writerow([*WHICH, *series])
    for row in rows:
        columns = [_column(row, name) for name in series]
        named = [row["data"], row["defence"], row["attack"], row["malicious"], row["seed"]]
        for number, values in enumerate(zip(*columns, strict=True), start=1):
            lines.writerow([*named, number, *("" if v is None else f"{v:.6g}" for v in values)])
    return text.getvalue()


def _column(row: Row, name: str) -> list[float | None]:
    """A series of one cell, one value a round."""
    if name not in REPUTATIONS:
        return list(row["history"][name])
    bad, seats = name == REPUTATIONS[1], set(row["malicious_seats"])
    found: list[float | None] = []
    for line in row["reputation"] or ():
        own = [value for seat, value in enumerate(line) if (seat in seats) == bad]
        found.append(median(own) if own else None)
    return found


def _how(made: Made, rows: Sequence[Row]) -> dict[str, Any]:
    """How rows were made, for whoever reads them elsewhere."""
    return _about(made) | {"rounds": max(row["rounds_wanted"] for row in rows)}


def _about(made: Made) -> dict[str, Any]:
    """Which command made a report, when, on which versions, of what."""
    about = environment(load_config(), made.command)
    return {
        "command": made.command,
        "created": about["created"],
        "packages": about["packages"],
        "data": list(made.data),
        "seeds": list(made.seeds),
        "mpc": made.mpc,
    }
