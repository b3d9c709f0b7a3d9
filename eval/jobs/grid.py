"""A job: every defence against every attack at every malicious share, one cell at a time.

The clean cell of a defence runs before its attacked ones, which take their base rates from it.
Computing nodes are started once and serve all cells. A cell is on disk complete or not at all, so
an interrupted job is completed by running the cells that are missing.
"""

from __future__ import annotations

import time
import traceback
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from eval.jobs.cell_row import describe
from eval.jobs.evaluate import Judge
from eval.jobs.events import check_events, logged
from eval.jobs.gains import gains
from eval.jobs.manifest import write_manifest
from eval.jobs.plan import Cell, plan
from eval.jobs.progress import Reporter
from eval.jobs.run_lock import only_writer
from eval.jobs.starting import ENVIRONMENT, check_data, config_hash
from eval.results.records import read_object, read_row
from ledger.errors import Reverted
from secure_fl.backends.session import Backend
from secure_fl.errors import InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.files import read_lines, write_json
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.folder import writing_cell
from secure_fl.simulation.labels import label_of
from secure_fl.simulation.parties import minimum_hospitals, open_nodes, signs
from secure_fl.simulation.run import RunConfig, corruptions
from secure_fl.simulation.secret import RunSecret
from secure_fl.simulation.steps import run_rounds
from secure_fl.threads import torch_threads

# What ends a cell alone: settings that turn out not to work, somebody's own code, nodes that died.
FAILURES = (
    SecureFLError,
    Reverted,
    ValueError,
    ArithmeticError,
    LookupError,
    TypeError,
    AttributeError,
    RuntimeError,
)
# What is read of the row of a cell done before.
_ROW_KEYS = {"cell", "accuracy", "attack_success_excess", "rounds_run", "seconds"}


class Backends:
    """Opens each backend once, at its first use; closes all at the end."""

    def __init__(self, secret: RunSecret) -> None:
        self._secret = secret
        self._stack = ExitStack()
        self._open: dict[tuple[Any, ...], Backend] = {}

    def __enter__(self) -> Backends:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def close(self) -> None:
        """Close all; they open again at their next use."""
        self._open.clear()
        self._stack.close()

    def get(self, run: RunConfig) -> Backend:
        """Return the backend that a cell runs on; cells of one job share it where they can."""
        defence = run.defence
        least = minimum_hospitals(defence, run.experiment, run.malicious)
        corrupt = corruptions(run)
        key: tuple[Any, ...] = (defence.backend, least)
        if defence.backend == "mpc":
            key += (defence.nodes, defence.keys, defence.preprocessing, defence.timeout)
            key += (defence.network_model(), defence.transcript, defence.state, signs(defence))
            key += (corrupt,)
        if key not in self._open:
            if defence.backend == "mpc" and defence.state is not None:
                self.close()  # one start of nodes uses a folder of memories at a time
            opened = open_nodes(defence, run.experiment, self._secret, run.malicious, corrupt)
            self._open[key] = self._stack.enter_context(opened)
        return self._open[key]


def run_job(
    config: ExperimentConfig, federation: Federation, folder: Path, reporter: Reporter
) -> list[dict[str, Any]]:
    """Run all cells that the folder lacks, then write summary and manifest.

    A cell that fails leaves no folder, so that the job can be resumed for it; the summary says why,
    and the others go on. What would fail them all ends the job: a node of the chain that is gone,
    a full disk, too little memory.

    Returns:
        Rows of the summary, one a cell that is done. `failures` has the others.

    Raises:
        InputError: another process writes into the folder, the run began with other data, a cell
            done before is damaged, or event files are asked for that nothing here can write.
    """
    check_events(config.tensorboard)
    with only_writer(folder):
        check_data(folder, federation)
        with logged(config.tensorboard, folder.resolve().name, reporter) as told:
            rows, failed = _run_cells(config, federation, folder, told)
        kept = gains(rows, folder, federation)
        rows = [row | kept.get(row["cell"], {}) for row in rows]
        summary = summarise(config, folder, rows) | {"failed": failed}
        write_json(folder / "summary.json", summary)
        write_manifest(folder)
    return rows


def _run_cells(
    config: ExperimentConfig, federation: Federation, folder: Path, reporter: Reporter
) -> tuple[list[dict[str, Any]], list[dict[str, str]]]:
    """Rows of all cells, of which those that are missing are run; and those that failed."""
    rows: list[dict[str, Any]] = []
    failed: list[dict[str, str]] = []
    secret = RunSecret(config)
    # What is damaged among the cells that are done is told before others run.
    places = {cell.name: folder / "cells" / cell.name for cell in plan(config)}
    held = {name: _done(final) for name, final in places.items() if final.exists()}
    with torch_threads(config.threads), Backends(secret) as backends:
        for cell in plan(config):
            final = places[cell.name]
            if cell.name not in held:
                reporter.cell_started(cell.name, config.rounds)
                try:
                    with writing_cell(folder, cell.name) as partial:
                        row = run_cell(
                            cell, federation, backends, secret, partial, folder, reporter
                        )
                        write_json(partial / "cell.json", row)
                except FAILURES as error:
                    backends.close()  # its nodes may have stopped with it
                    failed.append(failure(cell.name, error))
                    reporter.cell_failed(cell.name, failed[-1]["reason"])
                    continue
            row = held.get(cell.name) or _done(final)
            reporter.cell_done(row)
            rows.append(row)
    return rows, failed


def _done(final: Path) -> dict[str, Any]:
    """The row of a cell that is done, in its folder.

    Raises:
        InputError: a file of it is damaged; the message says how the run can go on.
    """
    try:
        row = read_row(final / "cell.json")
        read_lines(final / "rounds.jsonl")
        if not row.keys() >= _ROW_KEYS or row["cell"] != final.name:
            raise InputError(f"{final / 'cell.json'} is damaged: it is not the row of this cell")
    except InputError as error:
        raise InputError(f"{error}; remove {final}, and --resume runs this cell again") from error
    return row


def failure(cell: str, error: Exception) -> dict[str, str]:
    """A failed cell as the summary has it: its name, the reason in one line, and the traceback."""
    words = " ".join(str(error).split())
    told = words if isinstance(error, SecureFLError) else f"{type(error).__name__}: {words}"
    trace = "".join(traceback.format_exception(error))
    return {"cell": cell, "reason": told, "traceback": trace}


def failures(folder: Path) -> list[dict[str, str]]:
    """Cells that failed when the job in a folder ran last, as `failure` has them."""
    return list(read_object(folder / "summary.json").get("failed", []))


def run_cell(
    cell: Cell,
    federation: Federation,
    backends: Backends,
    secret: RunSecret,
    target: Path,
    folder: Path,
    reporter: Reporter,
) -> dict[str, Any]:
    """Run one cell into `target` and judge its final model; the content of `cell.json`."""
    start = time.perf_counter()
    clean = None if cell.run.clean else folder / "cells" / cell.clean
    if clean is not None and not clean.exists():
        raise InputError(f"{cell.clean}, whose rates it is compared with, failed")
    attack = cell.run.attack
    label = label_of(attack.target_label, federation.data)
    judge = Judge(federation, attack.build(cell.run.experiment.extensions), clean, label)
    result = run_rounds(
        cell.run,
        federation,
        backends.get(cell.run),
        target,
        secret,
        observe=judge.observe,
        report=lambda row, _: reporter.round_done(row),
    )
    row = describe(cell, federation, judge, result)
    row["seconds"] = time.perf_counter() - start
    return row


def summarise(
    config: ExperimentConfig, folder: Path, rows: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Content of `summary.json`: the rows of all cells, and what they were run with."""
    return {
        "name": config.name,
        "created": read_object(folder / ENVIRONMENT).get("created"),
        "seconds": sum(row["seconds"] for row in rows),
        "config_sha256": config_hash(folder),
        "rows": list(rows),
    }
