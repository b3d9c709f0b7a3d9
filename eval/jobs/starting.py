"""A job begins, or goes on: what is checked before, and what is written first."""

from __future__ import annotations

import shlex
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from eval.jobs.environment import PARTIES, environment, parties
from eval.jobs.events import check_events
from eval.jobs.plan import plan
from eval.jobs.run_lock import refuse_second_writer
from eval.results.records import read_object
from secure_fl.errors import ConfigError, InputError
from secure_fl.federation import Federation
from secure_fl.files import sha256, write_json
from secure_fl.mpc.tls import check_keys
from secure_fl.settings.config import read_config, save_config
from secure_fl.settings.permitted import permit
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.consortium import check_ledger
from secure_fl.simulation.folder import check_folder, create_run, holds_run, refuse_existing
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.rehearsal import rehearse
from secure_fl.simulation.secret import public_members_seed

ENVIRONMENT = "environment.json"
# In ENVIRONMENT: hash of the settings that the run began with.
CONFIG_HASH = "config_sha256"
# And of the data that it began with (`secure_fl.simulation.prepare.data_hash`).
DATA_HASH = "data_sha256"


def start_job(
    config: ExperimentConfig,
    folder: Path,
    command: Sequence[str],
    given: Federation | None = None,
) -> Federation:
    """Check everything that can be checked, then create the run folder.

    Args:
        config: the job.
        folder: new.
        command: that started it.
        given: data and model handed over in Python; None: those of the settings.

    Raises:
        SecureFLError: data that are missing or do not fit, a rule or an attack that cannot work
            with them, or a folder that exists.
    """
    refuse_existing(folder)  # before the data are read
    federation = check_job(config, given)
    create_run(folder)
    write_start(config, folder, command, federation)
    return federation


def check_job(config: ExperimentConfig, given: Federation | None = None) -> Federation:
    """Check everything that can be checked before a folder is made; returns the data and model.

    Raises:
        SecureFLError: data that are missing or do not fit, a rule or an attack that cannot work
            with them.
    """
    check_events(config.tensorboard)
    federation = prepare(config) if given is None else given
    check_chain(config)
    _check_keys(config)
    rehearse([cell.run for cell in plan(config)], federation)
    return federation


def write_start(
    config: ExperimentConfig, folder: Path, command: Sequence[str], federation: Federation
) -> None:
    """Write what a run began with into its new folder."""
    save_config(config, folder / "config.yaml")
    begun: dict[str, Any] = {"run": folder.resolve().name}
    begun |= {CONFIG_HASH: config_hash(folder), DATA_HASH: federation.data_sha256}
    begun |= {PARTIES: parties(federation)}
    write_json(folder / ENVIRONMENT, environment(config, shlex.join(command)) | begun)


def config_hash(folder: Path) -> str:
    """SHA-256 of the settings in a run's folder."""
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
    if begun.get(CONFIG_HASH) != config_hash(folder):
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


def command_line() -> list[str]:
    """The command as the user typed it, without the path of the program."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]
