"""What a run's folder lacks of what its settings ask for: cells, records, rounds, openings.

A report is drawn of what is there. Whoever reads it must be told what is not: an average over the
cells that are left looks like any other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from eval.jobs.plan import plan
from eval.results.records import Cell, Run
from eval.results.style import NO_ATTACK, attack_label, defence_label, malicious_words
from secure_fl.errors import SecureFLError
from secure_fl.settings.config import read_config
from secure_fl.settings.schema import ExperimentConfig

# So many names are listed in a sentence; of more the number is told.
LISTED = 6


@dataclass(frozen=True)
class Gaps:
    """What is missing, by the names of tables.

    Attributes:
        cells: cells of the settings that the summary does not have: method, attack, share.
        records: cells of the summary without records of their rounds.
        rounds: cells with fewer rounds than they ran or the settings ask for, with both numbers.
        openings: cells with rounds of which no opening is recorded.
        settings: why the settings could not be read; nothing is known of `cells` then.
    """

    cells: tuple[tuple[str, str, str], ...] = ()
    records: tuple[str, ...] = ()
    rounds: tuple[str, ...] = ()
    openings: tuple[str, ...] = ()
    settings: str = ""

    @property
    def sentences(self) -> list[str]:
        """What is missing, one sentence a kind; none for a whole run."""
        cells = [", ".join(part for part in cell if part) for cell in self.cells]
        said = [
            _sentence("Cells of the settings that are not there", cells),
            _sentence("Cells without records of their rounds", self.records),
            _sentence("Cells with fewer rounds than they should have", self.rounds),
            _sentence("Cells with rounds whose openings are not recorded", self.openings),
            f"The settings cannot be read: {self.settings}." if self.settings else "",
        ]
        return [sentence for sentence in said if sentence]

    @property
    def note(self) -> str:
        """The same in one line, for below a table; empty for a whole run."""
        said = " ".join(self.sentences)
        return f"Incomplete run. {said}" if said else ""


def find_gaps(folder: Path, run: Run) -> Gaps:
    """Compare a run in memory with the settings in its folder."""
    try:
        config = read_config(folder / "config.yaml")
    except SecureFLError as error:
        return Gaps(settings=str(error).rstrip("."))
    played = [cell for cell in run.cells if cell.row.get("rounds_run") != 0]
    return Gaps(
        cells=tuple(_missing_cells(config, run)),
        records=tuple(name(cell) for cell in played if not cell.rounds),
        rounds=tuple(_short(config, [cell for cell in played if cell.rounds])),
        openings=tuple(name(cell) for cell in played if _unopened(cell)),
    )


def name(cell: Cell) -> str:
    """A cell as tables name it."""
    attack, share = str(cell.row["attack"]), float(cell.row["malicious_fraction"])
    parts = (
        defence_label(cell.row),
        attack_label(attack),
        _share(attack, share, cell.row.get("hospitals")),
    )
    return ", ".join(part for part in parts if part)


def _missing_cells(config: ExperimentConfig, run: Run) -> Iterable[tuple[str, str, str]]:
    there = {(r["defence"], r["attack"], float(r["malicious_fraction"])) for r in run.rows}
    for cell in plan(config):
        defence, attack, share = cell.run.defence, cell.run.attack.label, cell.run.fraction
        if (defence.name, attack, share) not in there:
            told = _share(attack, share, config.data.hospitals)
            yield defence.label or defence.name, attack_label(attack), told


def _short(config: ExperimentConfig, cells: Iterable[Cell]) -> Iterable[str]:
    """Cells that have fewer rounds than their row says, or stopped for no reason of their own."""
    for cell in cells:
        numbers = [record.get("round") for record in cell.rounds if record.get("round")]
        stopped = bool(cell.rounds[-1].get("stopped"))
        wanted = max(cell.row.get("rounds_run") or 0, 0 if stopped else config.rounds)
        if len(set(numbers)) < wanted:
            yield f"{name(cell)} ({len(set(numbers))} of {wanted})"


def _unopened(cell: Cell) -> bool:
    opened = {opening.get("round") for opening in cell.openings}
    return any(record["round"] not in opened for record in cell.rounds if record.get("round"))


def _share(attack: str, share: float, hospitals: int | None) -> str:
    return "" if attack == NO_ATTACK else malicious_words(share, hospitals)


def _sentence(what: str, names: Iterable[str]) -> str:
    listed = list(names)
    if not listed:
        return ""
    rest = f" and {len(listed) - LISTED} more" if len(listed) > LISTED else ""
    return f"{what}: {'; '.join(listed[:LISTED])}{rest}."
