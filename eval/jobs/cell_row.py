"""What the row of a cell says: what was run, how good the model is, what it cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from attacks import Attack
from eval import metrics
from eval.jobs.budget import budgets
from eval.jobs.evaluate import Judge, success_columns
from eval.jobs.plan import Cell
from eval.metrics.detection import detection, keyed
from eval.results.participation import warnings
from eval.results.records import BY_CLASS
from secure_fl.errors import ConfigError
from secure_fl.federation import Federation
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import PrivacyConfig
from secure_fl.simulation.run import RunConfig, RunResult

# What a cell's row says of the final model (`measures`).
MEASURES = (
    *metrics.Classification._fields,
    "threshold",
    "recall_at_even_odds",
    "attack_success_raw",
    "attack_success_base",
    "attack_success_excess",
    "drift",
)


def describe(cell: Cell, federation: Federation, judge: Judge, result: RunResult) -> dict[str, Any]:
    """The row of a finished cell."""
    return (
        identity(cell, result.malicious, cell.run.attack.build(cell.run.experiment.extensions))
        | measures(federation, judge, result)
        | costs(cell.run.defence, cell.run.experiment.privacy, result)
        | named(cell.run, result)
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
    quality = judge.quality(result.model)
    success = judge.success(result.model, memory=result.memory)
    each = judge.by_class(result.model)
    return {
        **quality._asdict(),
        **({} if each is None else {BY_CLASS: each}),
        "threshold": judge.calibration(result.model).threshold,
        "recall_at_even_odds": judge.at_even_odds(result.model).recall,
        **success_columns(success),
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
        **budgets(defence, privacy, played, result.malicious),
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


def named(run: RunConfig, result: RunResult) -> dict[str, float | None]:
    """What a row says of whom the rule named; nothing where its code is not here or permitted."""
    try:
        judges = run.defence.build(run.experiment.extensions).judges
        malicious = to_name(run, result.malicious)
    except ConfigError:
        return {}
    return keyed(detection(result.rows, malicious, judges))


def to_name(run: RunConfig, malicious: Sequence[int]) -> Sequence[int]:
    """Malicious hospitals whom a defence can name: none where the attack's validators or nodes act
    alone, and its hospitals are honest.

    Raises:
        ConfigError: the attack is not here, or nobody permitted it.
    """
    parts = run.attack.parts(run.experiment.extensions)
    acts = run.attack.overstate or any(attack.at_hospitals for attack, _, _ in parts)
    return malicious if acts else ()
