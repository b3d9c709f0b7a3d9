"""A job: every defence against every attack at every malicious share, one cell at a time.

The clean cell of a defence runs before its attacked ones, which take their base rates from it.
Computing nodes are started once and serve all cells. A cell is on disk complete or not at all, so
an interrupted job is completed by running the cells that are missing.
"""

from __future__ import annotations

import math
import shlex
import sys
import time
import traceback
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from attacks import Attack
from eval import metrics
from eval.jobs.environment import environment
from eval.jobs.evaluate import Judge
from eval.jobs.manifest import write_manifest
from eval.jobs.progress import Reporter
from eval.jobs.run_lock import only_writer, refuse_second_writer
from eval.results.participation import warnings
from eval.results.records import BY_CLASS, read_object, read_row
from eval.results.style import ROOT_ONLY
from ledger.errors import Reverted
from secure_fl.backends.session import Backend
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.files import sha256, write_json
from secure_fl.hospital.privacy import DELTA, epsilon
from secure_fl.mpc.tls import check_keys
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_defence, read_config, save_config
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.feasible import check_defence, check_numbers
from secure_fl.settings.permitted import permit
from secure_fl.settings.schema import ExperimentConfig, PrivacyConfig, malicious_fractions
from secure_fl.simulation.consortium import check_ledger
from secure_fl.simulation.folder import (
    check_folder,
    create_run,
    holds_run,
    refuse_existing,
    writing_cell,
)
from secure_fl.simulation.parties import minimum_hospitals, open_nodes, signs
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.rehearsal import dry_run
from secure_fl.simulation.run import RunConfig, RunResult, make_context
from secure_fl.simulation.secret import RunSecret, public_members_seed
from secure_fl.simulation.steps import run_rounds
from secure_fl.threads import torch_threads

CLEAN = "none"
ENVIRONMENT = "environment.json"
# In ENVIRONMENT: hash of the settings that the run began with.
CONFIG_HASH = "config_sha256"
# And of the data that it began with (`secure_fl.simulation.prepare.data_hash`).
DATA_HASH = "data_sha256"
# What a cell's row says of the final model (`measures`).
MEASURES = (
    *metrics.Classification._fields,
    "threshold",
    "attack_success_raw",
    "attack_success_base",
    "attack_success_excess",
    "drift",
)
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


@dataclass(frozen=True)
class Cell:
    """One place in the grid."""

    name: str
    run: RunConfig
    clean: str


def plan(config: ExperimentConfig) -> list[Cell]:
    """Cells of a job in the order they run: of each defence the clean one first."""
    fractions = [f for f in malicious_fractions(config.malicious) if f > 0]
    attacks = [attack for attack in config.attacks if attack.name != CLEAN]
    cells = []
    for defence in [*config.defences, *_baseline(config)]:
        clean = f"{defence.name}--{CLEAN}"
        cells.append(Cell(clean, RunConfig(config, defence, AttackConfig(), 0.0), clean))
        for attack in attacks if defence.name != ROOT_ONLY else ():
            for fraction in fractions:
                name = f"{defence.name}--{attack.label}"
                name += f"--{fraction:g}" if len(fractions) > 1 else ""
                cells.append(Cell(name, RunConfig(config, defence, attack, fraction), clean))
    return cells


def _baseline(config: ExperimentConfig) -> list[DefenceConfig]:
    """What the public root reaches by itself, beside every defence that is guided by it."""
    guarded = any(defence.validation == "gate" for defence in config.defences)
    named = any(defence.name == ROOT_ONLY for defence in config.defences)
    return [load_defence(ROOT_ONLY)] if guarded and not named else []


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
        key: tuple[Any, ...] = (defence.backend, least)
        if defence.backend == "mpc":
            key += (defence.nodes, defence.keys, defence.preprocessing, defence.timeout)
            key += (defence.network_model(), defence.transcript, signs(defence))
        if key not in self._open:
            opened = open_nodes(defence, run.experiment, self._secret, run.malicious)
            self._open[key] = self._stack.enter_context(opened)
        return self._open[key]


def start_job(config: ExperimentConfig, folder: Path, command: Sequence[str]) -> Federation:
    """Check everything that can be checked, then create the run folder.

    Raises:
        SecureFLError: data that are missing or do not fit, a rule or an attack that cannot work
            with them, or a folder that exists.
    """
    refuse_existing(folder)  # before the data are read
    federation = check_job(config)
    create_run(folder)
    write_start(config, folder, command, federation)
    return federation


def check_job(config: ExperimentConfig) -> Federation:
    """Check everything that can be checked before a folder is made; returns the data and model.

    Raises:
        SecureFLError: data that are missing or do not fit, a rule or an attack that cannot work
            with them.
    """
    federation = prepare(config)
    check_chain(config)
    _check_keys(config)
    most = {
        cell.run.defence.name: cell.run
        for cell in sorted(plan(config), key=lambda c: c.run.malicious)
    }
    for run in most.values():
        check_defence(
            run.defence,
            config.privacy,
            federation.hospitals,
            federation.initial.numel(),
            config.extensions,
            minimum_hospitals(run.defence, config, run.malicious),
        )
    acting = {(cell.run.attack.label, cell.run.fraction): cell.run for cell in plan(config)}
    for run in acting.values():
        dry_run(make_context(run, federation))
    for defence in config.defences:
        check_numbers(config, defence, federation.model.num_parameters)
    return federation


def write_start(
    config: ExperimentConfig, folder: Path, command: Sequence[str], federation: Federation
) -> None:
    """Write what a run began with into its new folder."""
    save_config(config, folder / "config.yaml")
    begun = {"run": folder.resolve().name}
    begun |= {CONFIG_HASH: _config_hash(folder), DATA_HASH: federation.data_sha256}
    write_json(folder / ENVIRONMENT, environment(config, shlex.join(command)) | begun)


def _config_hash(folder: Path) -> str:
    return sha256((folder / "config.yaml").read_bytes())


def _check_keys(config: ExperimentConfig) -> None:
    """Look for the files of `defence.keys` before anything is written."""
    for defence in config.defences:
        if defence.backend == "mpc" and defence.keys is not None:
            check_keys(Path(defence.keys), defence.nodes)


def check_chain(config: ExperimentConfig, done: Collection[str] = ()) -> None:
    """Check the node of the ledger, and fund a development node's account, before the cells run.

    Args:
        config: the job.
        done: names of cells that need no chain any more.

    Raises:
        SecureFLError, LedgerError: it is not there, or keys, funds or contract are missing.
    """
    missing = [cell.run for cell in plan(config) if cell.name not in done]
    with_ledger = [run for run in missing if run.defence.ledger]
    if config.ledger.contract is not None and len(with_ledger) > 1:
        raise ConfigError(
            f"ledger.contract must be null where several cells have a ledger, here "
            f"{len(with_ledger)}: a contract serves one run, and each cell makes its own"
        )
    if with_ledger:
        check_ledger(
            config.ledger,
            config.data.hospitals,
            config.data.validators,
            max(run.defence.nodes for run in with_ledger),
            public_members_seed(config),
        )


def resume_job(folder: Path, allow: Sequence[str] = ()) -> ExperimentConfig:
    """Settings of an interrupted job.

    Args:
        folder: of the run.
        allow: code of one's own that its settings name and that may be imported.

    Raises:
        NotPermitted: a name in its settings that is not in `allow`.
        InputError: no run was started there, another process writes into it, or its settings
            were changed since: the cells that are done and those that are missing would not
            belong together.
        SecureFLError, LedgerError: the ledger's node, keys, funds or contract are missing.
    """
    check_folder(folder)
    if not holds_run(folder):
        raise InputError(
            f"{folder} holds no run to resume: start one with --out and a folder that is new"
        )
    refuse_second_writer(folder)
    config = read_config(folder / "config.yaml")
    begun = read_object(folder / ENVIRONMENT)
    if begun.get(CONFIG_HASH) != _config_hash(folder):
        raise InputError(
            f"{folder / 'config.yaml'} must be as the run wrote it, or its cells would not belong "
            "together; start a new run for other settings"
        )
    config.permit(permit(allow))
    check_chain(config, {path.name for path in (folder / "cells").iterdir()})
    _check_keys(config)
    return config


def check_data(folder: Path, federation: Federation) -> None:
    """Hold the data to those that a run began with, before anything is written.

    Raises:
        InputError: they are others, so that done and missing cells would not belong together.
    """
    begun = read_object(folder / ENVIRONMENT).get(DATA_HASH)
    if begun is None:
        raise InputError(f"{folder / ENVIRONMENT} does not say which data the run began with")
    if begun != federation.data_sha256:
        raise InputError(
            f"the data must be those that the run in {folder} began with (SHA-256 {begun}); those "
            f"loaded now have {federation.data_sha256}"
        )


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
        InputError: another process writes into the folder, the run began with other data, or a
            cell done before is damaged.
    """
    with only_writer(folder):
        check_data(folder, federation)
        rows, failed = _run_cells(config, federation, folder, reporter)
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
    with torch_threads(config.threads), Backends(secret) as backends:
        for cell in plan(config):
            final = folder / "cells" / cell.name
            if not final.exists():
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
            row = read_row(final / "cell.json")
            if not row.keys() >= _ROW_KEYS or row["cell"] != cell.name:
                raise InputError(
                    f"{final / 'cell.json'} is damaged: it is not the row of this cell"
                )
            reporter.cell_done(row)
            rows.append(row)
    return rows, failed


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
    judge = Judge(federation, cell.run.attack.build(cell.run.experiment.extensions), clean)
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
        "config_sha256": _config_hash(folder),
        "rows": list(rows),
    }


def describe(cell: Cell, federation: Federation, judge: Judge, result: RunResult) -> dict[str, Any]:
    """The row of a finished cell."""
    return (
        identity(cell, result.malicious, cell.run.attack.build(cell.run.experiment.extensions))
        | measures(federation, judge, result)
        | costs(cell.run.defence, cell.run.experiment.privacy, result)
    )


def permitted_attack(run: RunConfig) -> Attack | None:
    """The attack of a cell; None if it is not here, or nobody permitted it."""
    try:
        return run.attack.build(run.experiment.extensions)
    except ConfigError:
        return None


def identity(cell: Cell, malicious: Sequence[int], acting: Attack | None) -> dict[str, Any]:
    """What a row says before anything ran: it follows from the settings.

    Without the attack that acts its objective is left out.
    """
    defence, attack = cell.run.defence, cell.run.attack
    return {
        "cell": cell.name,
        "defence": defence.name,
        "label": defence.label or defence.name,
        "paper_method": defence.paper_method,
        "backend": defence.backend,
        "nodes": defence.nodes if defence.backend == "mpc" else None,
        "insecure": defence.backend == "mpc" and defence.preprocessing == "first_party",
        "noise_sigma": cell.run.experiment.privacy.noise_sigma,
        "repeatable_secrets": cell.run.experiment.repeatable_secrets,
        "attack": attack.label,
        **({} if acting is None else {"objective": acting.objective}),
        "malicious_fraction": cell.run.fraction,
        "malicious": list(malicious),
        "hospitals": cell.run.experiment.data.hospitals,
        "seed": cell.run.experiment.seed,
    }


def measures(federation: Federation, judge: Judge, result: RunResult) -> dict[str, Any]:
    """What a row says of the final model; it follows from the models and the data."""
    quality, success = judge.quality(result.model), judge.success(result.model)
    each = judge.by_class(result.model)
    return {
        **quality._asdict(),
        **({} if each is None else {BY_CLASS: each}),
        "threshold": judge.calibration(result.model).threshold,
        "attack_success_raw": None if success is None else success.raw,
        "attack_success_base": None if success is None else success.base,
        "attack_success_excess": None if success is None else success.excess,
        "drift": metrics.model_drift(result.model, federation.initial),
    }


def costs(defence: DefenceConfig, privacy: PrivacyConfig, result: RunResult) -> dict[str, Any]:
    """What a row says of time, traffic, privacy, who took part, and the hashes it ends in."""
    played = [row for row in result.rows if row["round"] > 0]
    shared = defence.backend == "mpc"
    hospitals = max((len(row["accepted"]) for row in played), default=0)

    def total(group: str, key: str) -> float | None:
        return sum(row[group][key] for row in played) if shared else None

    return {
        "rounds_run": len(played),
        "epsilon": _epsilon(privacy, len(played)),
        "mpc_seconds_online": total("seconds", "mpc_online"),
        "mpc_seconds_offline": total("seconds", "mpc_offline"),
        "mpc_rounds": total("mpc", "rounds"),
        "mpc_bytes_online": total("mpc", "bytes_online"),
        "mpc_bytes_offline": total("mpc", "bytes_offline"),
        "ledger_ms_per_round": result.ledger_ms / len(played) if defence.ledger else None,
        "warnings": warnings(result.rows, result.malicious, hospitals),
        "final_model_sha256": result.closing["model_sha256"],
        "chain_head": result.chain_head,
    }


def _epsilon(privacy: PrivacyConfig, rounds: int) -> float | None:
    """Budget of a hospital that sent in every round, at `DELTA`; None without noise, or where the
    noise is so small that no number holds it."""
    if privacy.noise_sigma == 0 or privacy.clip_norm is None:
        return None
    spent = epsilon(privacy.clip_norm, privacy.noise_sigma, rounds, DELTA)
    return spent if math.isfinite(spent) else None


def command_line() -> list[str]:
    """The command as the user typed it, without the path of the program."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
