"""The cells of a job: every defence, every attack, every malicious share."""

from __future__ import annotations

from dataclasses import dataclass

from eval.results.style import ALONE, ROOT_ONLY
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_defence
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig, malicious_fractions
from secure_fl.simulation.run import RunConfig

CLEAN = "none"


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
        for attack in attacks if defence.name not in ALONE else ():
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
