"""One defence against one attack, from settings or on a federation in memory."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path

from secure_fl.errors import require
from secure_fl.federation import Federation
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config
from secure_fl.settings.schema import malicious_fractions
from secure_fl.simulation.journal import Journal
from secure_fl.simulation.parties import open_nodes
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.rehearsal import rehearse
from secure_fl.simulation.run import (
    Observe,
    ObserveModel,
    Report,
    RunConfig,
    RunResult,
    corruptions,
)
from secure_fl.simulation.secret import RunSecret
from secure_fl.simulation.steps import RunSteps
from secure_fl.threads import torch_threads


@contextmanager
def opened(
    config: RunConfig,
    federation: Federation,
    folder: str | Path | None = None,
    observe: Observe | None = None,
    report: Report | None = None,
    journal: Path | None = None,
) -> Iterator[RunSteps]:
    """Check a run, start its nodes, and yield it for its owner to play; all is closed at the end.

    Args:
        config: what to run.
        federation: data, model, initial parameters.
        folder: new folder for the records; a temporary one by default, removed at the end.
        observe, report: see `secure_fl.simulation.steps.run_rounds`.
        journal: folder of `secure_fl.simulation.journal` for a run in the clear, which goes on from
            the rounds there; its owner removes it.

    Raises:
        SecureFLError: a rule or an attack that cannot work here, a folder that exists.
    """
    experiment, defence = config.experiment, config.defence
    clear = journal is None or defence.backend != "mpc"
    require(clear, "journal", "left out under MPC: updates would lie there unshared", journal)
    rehearse([config], federation)
    with torch_threads(experiment.threads), tempfile.TemporaryDirectory() as scratch:
        target = Path(scratch) / "run" if folder is None else Path(folder)
        require(not target.exists(), "folder", "one that does not exist yet", str(target))
        target.mkdir(parents=True)
        secret = RunSecret(experiment)
        corrupt = corruptions(config)
        with open_nodes(defence, experiment, secret, config.malicious, corrupt) as backend:
            kept = None if journal is None else Journal(journal)
            steps = RunSteps(config, federation, backend, target, secret, observe, report, kept)
            with closing(steps):
                yield steps


def of_model(observe: ObserveModel | None) -> Observe | None:
    """One who looks at models alone, as `run_rounds` calls him."""
    if observe is None:
        return None
    return lambda number, model, _: observe(number, model)


def run_settings(
    overrides: Sequence[str] = (),
    folder: str | Path | None = None,
    *,
    observe: ObserveModel | None = None,
) -> RunResult:
    """Run one defence against one attack from settings. The command line runs whole grids.

    Args:
        overrides: as on the command line, e.g. `["defence=robust", "attack=backdoor"]`. The first
            defence and the first attack are run at the smallest malicious share.
        folder: see `opened`.
        observe: extra fields of a row, from (round, model kept after it).

    Raises:
        SecureFLError: settings that do not fit, data that are missing, a folder that exists.

    Example:
        >>> settings = ["data.rows=1500", "data.hospitals=4", "rounds=1", "defence=robust"]
        >>> [row["status"] for row in run_settings(settings).rows]
        ['initial', 'unchecked']
    """
    experiment = load_config(overrides)
    told = experiment.tensorboard
    require(told is None, "tensorboard", "null here: jobs and sweeps write event files", told)
    attack = experiment.attacks[0] if experiment.attacks else AttackConfig()
    fraction = malicious_fractions(experiment.malicious)[0]
    config = RunConfig(experiment, experiment.defences[0], attack, fraction)
    with opened(config, prepare(experiment), folder, of_model(observe)) as steps:
        for _ in steps:
            pass
        return steps.finish()
