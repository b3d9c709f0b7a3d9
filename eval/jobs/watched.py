"""Cells whose rows tell each round: curves, drift, reputations, suspensions, time and traffic."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import numpy as np
import torch

from attacks.memory import Memory
from eval.jobs.evaluate import Judge
from eval.jobs.single import Planned, plan_cell
from eval.metrics.drift import model_drift
from secure_fl.hospital.training import train
from secure_fl.nodes.shares import share_type
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.run import Observe, RunResult, train_options

# One number a round, by its key in a round's row and in a cell's `history`.
SERIES = ("test_accuracy", "attack_success", "loss", "drift")
# Digits kept of reputations, which are multiples of 0.01 or nearly so.
DIGITS = 4
# Trainings of one hospital whose median counts.
REPETITIONS = 3


class Watch:
    """Looks at the model of every round, and remembers the last one."""

    def __init__(self, judge: Judge) -> None:
        self.judge = judge
        self.last: torch.Tensor | None = None

    def __call__(
        self, number: int, model: torch.Tensor, memory: Memory | None
    ) -> dict[str, float | None]:
        """Accuracy on the test rows, raw attack success, and how far the model moved.

        The success of an untargeted attack, which takes a clean model, is None; so are success and
        drift of the initial model.
        """
        moved = None if self.last is None else model_drift(model, self.last)
        self.last = model
        return {
            "test_accuracy": self.judge.quality(model).accuracy,
            "attack_success": self.judge.raw(model, None, memory) if number else None,
            "drift": moved,
        }


@dataclass(frozen=True)
class Watched(Planned):
    """A run whose row tells each round (`told`)."""

    def observer(self, judge: Judge) -> Observe:
        """Measures every round's model."""
        return Watch(judge)

    def further(self, judge: Judge, result: RunResult) -> dict[str, Any]:
        """The history of the run, and the confusion matrix of its final model."""
        data = judge.federation.data
        logits = judge.federation.logits(result.model, data.test.x)
        predicted = judge.calibration(result.model).predict(logits)
        classes = 2 if data.multilabel else data.classes
        matrix = confusion(data.test.y.numpy(), predicted, classes)
        return told(result.rows, result.malicious) | {"confusion": matrix}


@dataclass(frozen=True)
class Timed(Watched):
    """A run whose row tells, besides, what one hospital by itself takes and sends."""

    @property
    def resumable(self) -> bool:
        """Never: rounds that were not trained again have no times."""
        return False

    def further(self, judge: Judge, result: RunResult) -> dict[str, Any]:
        """Adds `one_hospital` to what a watched run tells: seconds of training of the hospital with
        most rows, alone, the median of `REPETITIONS`; bytes that it sends and receives in a round
        as payload: an update or its shares, and the next model."""
        federation, defence = judge.federation, self.config.defence
        largest = max(federation.data.hospitals, key=lambda split: len(split.y))
        options, taken = train_options(self.config), []
        for _ in range(REPETITIONS):
            began = time.perf_counter()
            train(federation.model, result.model, [largest], options, [0])
            taken.append(time.perf_counter() - began)
        words, dim = federation.initial.element_size(), len(federation.initial)
        sent = words * dim
        if defence.backend == "mpc":
            bits = defence.build(self.config.experiment.extensions).bits
            sent = defence.nodes * dim * np.dtype(share_type(bits)).itemsize
        alone = {"seconds": median(taken), "sent": sent, "received": words * dim}
        return super().further(judge, result) | {"one_hospital": alone}


def plan_watched(
    config: ExperimentConfig, *, attack: Any, defence: Any, malicious: float, seed: int
) -> Watched:
    """One cell with the settings of a job, as `eval.jobs.single.plan_cell`.

    Raises:
        SecureFLError: a name, type or value that does not fit.
    """
    cell = plan_cell(config, attack=attack, defence=defence, malicious=malicious, seed=seed)
    return Watched(cell.config)


def plan_timed(
    config: ExperimentConfig, *, attack: Any, defence: Any, malicious: float, seed: int
) -> Timed:
    """The same, of a cell whose cost is told."""
    cell = plan_cell(config, attack=attack, defence=defence, malicious=malicious, seed=seed)
    return Timed(cell.config)


def confusion(y_true: np.ndarray, y_pred: np.ndarray, classes: int) -> list[list[int]]:
    """Cases by true class (lines) and predicted class (columns): (C, C).

    Args:
        y_true, y_pred: (m,); of rows with several labels (m, L) of 0 and 1, each answer a case.
        classes: C.
    """
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (y_true.ravel(), y_pred.ravel()), 1)
    return [[int(count) for count in line] for line in counts]


def told(rows: Sequence[Mapping[str, Any]], malicious: Sequence[int]) -> dict[str, Any]:
    """What a row tells of its rounds.

    - `malicious_seats`: indices of the malicious hospitals.
    - `history`: by each of `SERIES` a list, one number (or None) a round, round 1 first.
    - `reputation`: a list a round of one number a hospital; None without a ledger.
    - `suspended_in`: of each hospital the first round in which it was suspended, or None.
    - `steps`: seconds on the clock by phase, all rounds together; `traffic`: MPC's rounds and
      bytes; `ledger_ms`: processor time of the ledger.

    Args:
        rows: of `rounds.jsonl`, with what `Watch` adds.
        malicious: indices of the malicious hospitals.
    """
    played = [row for row in rows if row["round"] > 0]
    reputations = [row["reputation"] for row in played]
    kept = [[round(value, DIGITS) for value in each] for each in reputations if each is not None]
    first: dict[int, int] = {}
    steps: dict[str, float] = {}
    traffic: dict[str, float] = {}
    for row in played:
        for hospital in row["suspended"]:
            first.setdefault(hospital, row["round"])
        for total, part in ((steps, row["seconds"]), (traffic, row["mpc"])):
            for key, value in part.items():
                total[key] = total.get(key, 0) + (value or 0)
    hospitals = max((len(row["accepted"]) for row in played), default=0)
    return {
        "malicious_seats": list(malicious),
        "history": {key: [row.get(key) for row in played] for key in SERIES},
        "reputation": kept or None,
        "suspended_in": [first.get(hospital) for hospital in range(hospitals)],
        "steps": steps,
        "traffic": traffic,
        "ledger_ms": sum(row["ledger_ms"] for row in played),
    }
