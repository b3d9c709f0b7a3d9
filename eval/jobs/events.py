"""Figures of every round as event files for TensorBoard, while a run is under way.

They repeat what `rounds.jsonl` says, as numbers over rounds, with the time of day beside each: so
they stand outside a run's folder, and no record, hash or audit knows of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from secure_fl.errors import InputError
from secure_fl.simulation.run import RunConfig

if TYPE_CHECKING:
    from eval.jobs.progress import Reporter

PACKAGE = "tensorboard"


def check_events(folder: str | None) -> None:
    """Refuse a folder for event files where the package that writes them is not there.

    Raises:
        InputError: naming the package and how it is installed.
    """
    if folder is not None and find_spec(PACKAGE) is None:
        raise InputError(f"tensorboard={folder} needs the package {PACKAGE}: pip install {PACKAGE}")


class RoundLog:
    """Writes event files of one run; `on_round` of `secure_fl.run` takes it.

        with RoundLog("logs/first") as log:
            secure_fl.run(federation, on_round=log)

    Args:
        folder: of these files, made where it is not there. A run that begins anew there takes the
            place of what was written before.

    Raises:
        InputError: the package `tensorboard` is not there.
    """

    def __init__(self, folder: str | Path) -> None:
        check_events(str(folder))
        from torch.utils.tensorboard import SummaryWriter

        self._writer: Any = SummaryWriter(str(folder), purge_step=0)

    def __enter__(self) -> RoundLog:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def __call__(self, row: Mapping[str, Any], model: torch.Tensor | None = None) -> None:
        """Write the figures of a round's row."""
        for name, value in figures(row):
            self._writer.add_scalar(name, value, row["round"])
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and end."""
        self._writer.close()


def figures(row: Mapping[str, Any]) -> Iterator[tuple[str, float]]:
    """Numbers in a round's row by name: its own, those of its parts, counts of hospitals, and each
    hospital's reputation."""
    for key, value in row.items():
        if _is_number(value) and key != "round":
            yield key, float(value)
        elif isinstance(value, Mapping):
            yield from ((f"{key}/{part}", float(v)) for part, v in value.items() if _is_number(v))
    if "accepted" in row:
        yield "hospitals/accepted", float(sum(row["accepted"]))
    if "suspended" in row:
        yield "hospitals/suspended", float(len(row["suspended"]))
    for hospital, value in enumerate(row.get("reputation") or ()):
        yield f"reputation/hospital {hospital}", float(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


class Logged:
    """A job's reporter that writes event files too, a folder a cell.

    Args:
        folder: of the job's event files.
        told: what else is told.
    """

    def __init__(self, folder: Path, told: Reporter) -> None:
        self._folder, self._told = folder, told
        self._log: RoundLog | None = None

    def close(self) -> None:
        """End the files of the cell under way."""
        if self._log is not None:
            self._log.close()
            self._log = None

    def cell_started(self, name: str, rounds: int) -> None:
        """Begin the files of a cell."""
        self.close()
        self._log = RoundLog(self._folder / name)
        self._told.cell_started(name, rounds)

    def round_done(self, row: dict[str, Any]) -> None:
        """Write a round."""
        if self._log is not None:
            self._log(row)
        self._told.round_done(row)

    def cell_done(self, row: dict[str, Any]) -> None:
        """End the files of a cell."""
        self.close()
        self._told.cell_done(row)

    def cell_failed(self, name: str, reason: str) -> None:
        """End the files of a cell."""
        self.close()
        self._told.cell_failed(name, reason)


@contextmanager
def logged(folder: str | None, run: str, reporter: Reporter) -> Iterator[Reporter]:
    """A job's reporter, which writes event files where the settings name a folder for them.

    Args:
        folder: the setting `tensorboard`.
        run: name of the run, the folder below it.
        reporter: what else is told.
    """
    if folder is None:
        yield reporter
        return
    both = Logged(Path(folder) / run, reporter)
    try:
        yield both
    finally:
        both.close()


def run_log(run: RunConfig) -> AbstractContextManager[RoundLog | None]:
    """Event files of one run of a sweep, below the folder of its settings; None without one."""
    folder = run.experiment.tensorboard
    if folder is None:
        return nullcontext()
    name = f"{run.defence.name}--{run.attack.label}--{run.fraction:g}"
    return RoundLog(Path(folder) / f"{name}--seed-{run.experiment.seed}--{run.sha256[:8]}")
