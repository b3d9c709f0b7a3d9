"""A whole job of what a person holds in Python, in a folder that can be audited."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from eval.jobs import grid
from eval.jobs.progress import Reporter, Silent
from eval.jobs.starting import command_line, start_job
from secure_fl.federation import Federation
from secure_fl.settings.objects import experiment


def run_job(
    federation: Federation,
    folder: str | Path,
    attacks: Sequence[Any] = (),
    defences: Sequence[Any] = ("fedavg",),
    *,
    reporter: Reporter | None = None,
    **choices: Any,
) -> list[dict[str, Any]]:
    """Run every defence without attack and under every attack, as `secure-fl run` does.

    The folder is one of `secure-fl run`: `secure-fl report` draws it, and an audit holds it to its
    settings, where attacks and rules stand as `module:name` with their parameters
    (`secure-fl audit DIR --allow module:name`). Data and model in memory have no name there: models
    are measured again where the audit is given them, `eval.audit.run.audit_run(DIR,
    federation=...)`.

    Args:
        federation: data, model and parties.
        folder: new.
        attacks, defences: names or objects, as `secure_fl.run` takes them.
        reporter: told of each cell and round.
        choices: malicious, rounds, seed, backend, train, ... (`secure_fl.start`).

    Returns:
        A row a cell that is done; `summary.json` has those that failed too.

    Raises:
        SecureFLError: a name, type or value that does not fit, or a folder that exists.
    """
    parties = federation.hospitals, len(federation.data.validators)
    config = experiment(*parties, list(attacks), list(defences), **choices)
    begun, place = federation.at(config.seed), Path(folder)
    start_job(config, place, command_line(), begun)
    return grid.run_job(config, begun, place, reporter or Silent())
