"""Live progress of a job: a table and bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Sequence
from types import TracebackType
from typing import Any, Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from eval.results.style import NO_ATTACK


class Reporter(Protocol):
    """What a job tells while it runs."""

    def cell_started(self, name: str, rounds: int) -> None:
        """Announce a cell and the most rounds it can take."""

    def round_done(self, row: dict[str, Any]) -> None:
        """Report one round, as written to `rounds.jsonl`."""

    def cell_done(self, row: dict[str, Any]) -> None:
        """Report one cell, as written to `cell.json`."""

    def cell_failed(self, name: str, reason: str) -> None:
        """Report a cell that failed."""


class Silent:
    """Tells nothing; for tests and notebooks."""

    def cell_started(self, name: str, rounds: int) -> None:
        """Ignore."""

    def round_done(self, row: dict[str, Any]) -> None:
        """Ignore."""

    def cell_done(self, row: dict[str, Any]) -> None:
        """Ignore."""

    def cell_failed(self, name: str, reason: str) -> None:
        """Ignore."""


def percent(value: float | None) -> str:
    """Format a share as a percentage; a dash where there is none."""
    return "-" if value is None else f"{100 * value:.1f}%"


def cell_line(row: dict[str, Any]) -> str:
    """One finished cell on one line, and a line for each warning."""
    parts = [f"{row['cell']:<36}", f"accuracy {percent(row['accuracy'])}"]
    if row.get("attack_success_excess") is not None:
        parts.append(f"attack success over base {percent(row['attack_success_excess'])}")
    parts.append(f"{row['rounds_run']} rounds, {row['seconds']:.1f} s")
    told = [f"    WARNING: {said}" for said in row.get("warnings") or ()]
    return "\n".join(["  ".join(parts), *told])


def failed_line(name: str, reason: str) -> str:
    """One failed cell on one line."""
    return f"{name:<36}  FAILED: {reason}"


def time_left(started: float, done: int, total: float) -> str:
    """An estimate from what is done since `started` (`time.monotonic`): "about 40 s left"."""
    seconds = (time.monotonic() - started) / done * (total - done)
    told = f"{seconds:.0f} s" if seconds < 100 else f"{seconds / 60:.0f} min"
    return f"about {told} left"


class CellLines:
    """One line a cell that is done (`eval.jobs.cells`), with the time left.

    Args:
        named: columns that name a cell beside its defence, attack, share and seed, of rows that
            have them.
    """

    def __init__(self, named: Sequence[str] = ()) -> None:
        self.named = named
        self.started = time.monotonic()
        self.kept = 0

    def __call__(self, done: int, cells: int, rows: Sequence[dict[str, Any]]) -> None:
        """Print the line; of several rows at once, which a folder held, how many they are."""
        if len(rows) > 1:
            self.kept += len(rows)
            print(f"[{done}/{cells}] {len(rows)} kept from before", flush=True)
            return
        (row,) = rows
        told = [row["defence"]]
        if row["attack"] != NO_ATTACK:
            told += [f"{row['attack']} of {percent(row['malicious'])}"]
        told.append(f"seed {row['seed']}")
        told += [f"{name}={row[name]}" for name in self.named if name in row]
        left = time_left(self.started, done - self.kept, cells - self.kept)
        print(f"[{done}/{cells}] {', '.join(told)}; {left}", flush=True)


class PlainLines:
    """One line a cell, for logs and pipes."""

    def __init__(self, console: Console, cells: int) -> None:
        self.console, self.cells, self.done = console, cells, 0

    def cell_started(self, name: str, rounds: int) -> None:
        """Say nothing: the line of a cell is printed when it is done."""

    def round_done(self, row: dict[str, Any]) -> None:
        """Say nothing: the line of a cell is printed when it is done."""

    def cell_done(self, row: dict[str, Any]) -> None:
        """Print the line of the cell."""
        self.done += 1
        self._print(cell_line(row))

    def cell_failed(self, name: str, reason: str) -> None:
        """Print the line of the cell."""
        self.done += 1
        self._print(failed_line(name, reason))

    def _print(self, text: str) -> None:
        line = f"[{self.done}/{self.cells}] {text}"
        self.console.print(line, markup=False, highlight=False, soft_wrap=True)


class LiveView:
    """Bars for the job and the running cell, its latest figures, and the time left."""

    def __init__(self, console: Console, cells: int) -> None:
        self.console = console
        self.started = time.monotonic()
        self.done = 0
        self.bars = Progress(
            TextColumn("{task.description:<38}"),
            BarColumn(bar_width=28),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
        )
        self.job = self.bars.add_task("cells", total=cells, note="")
        self.cell = self.bars.add_task("waiting", total=1, note="")
        self.figures = ""
        self.live = Live(self._view(), console=console, refresh_per_second=8)

    def __enter__(self) -> LiveView:
        self.live.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.live.stop()

    def _view(self) -> Group:
        line = Table.grid(padding=(0, 2))
        line.add_row(self.figures)
        return Group(self.bars, line)

    def cell_started(self, name: str, rounds: int) -> None:
        """Start the cell's bar."""
        self.bars.reset(self.cell, total=rounds, description=name)
        self.figures = ""
        self.live.update(self._view())

    def round_done(self, row: dict[str, Any]) -> None:
        """Advance the cell's bar and show the latest figures."""
        if row["round"] > 0:
            self.bars.advance(self.cell)
        self.figures = (
            f"round {row['round']}  test accuracy {percent(row.get('test_accuracy'))}  "
            f"attack success {percent(row.get('attack_success'))}  {row['status']}"
        )
        self.live.update(self._view())

    def cell_done(self, row: dict[str, Any]) -> None:
        """Advance the job's bar, print the cell's line above, estimate the time left."""
        self._finished(cell_line(row))

    def cell_failed(self, name: str, reason: str) -> None:
        """Do the same for a cell that failed."""
        self._finished(failed_line(name, reason))

    def _finished(self, line: str) -> None:
        self.done += 1
        self.bars.advance(self.job)
        total = self.bars.tasks[0].total or 0
        self.bars.update(self.job, note=time_left(self.started, self.done, total))
        self.console.print(line, markup=False, highlight=False)
