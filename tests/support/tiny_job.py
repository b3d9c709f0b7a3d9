"""A real job that takes a second: few rows and hospitals, rules in the clear, two with a ledger."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from secure_fl.settings.config import load_config
from secure_fl.settings.schema import ExperimentConfig

SETTINGS = (
    "data.rows=1200",
    "data.hospitals=4",
    "data.validators=3",
    "ledger.quorum=2",
    "model.params.hidden=[4]",
    "train.epochs=1",
    "rounds=2",
    "malicious=0.25",
    "attacks=[backdoor]",
    "defences=[fedavg, paper]",
    "defence.backend=fixed",
)


def config(*overrides: str) -> ExperimentConfig:
    return load_config([*SETTINGS, *overrides])


def run(folder: Path, overrides: Sequence[str] = ()) -> Path:
    """Run the job into a new folder and return it."""
    settings = config(*overrides)
    federation = starting.start_job(settings, folder, ["secure-fl", "run"])
    grid.run_job(settings, federation, folder, Silent())
    return folder
