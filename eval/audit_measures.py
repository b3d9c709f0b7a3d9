"""Measure again: every model of a run on the data, compared with the figures in its records.

Hashes show that nothing changed since the run; this shows that the figures belong to the models.
The last digits may differ between processors, so that a gap up to `TOLERANCE` passes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from eval import grid
from eval.audit_records import CellRecords, Finding, result_of
from eval.evaluate import Judge
from secure_fl.errors import SecureFLError
from secure_fl.federation import Federation, prepare
from secure_fl.round import measured, model_hash
from secure_fl.runfolder import model_path, read_model
from secure_fl.schema import ExperimentConfig
from secure_fl.validation import validate

# Largest gap that passes: a few test cases at the threshold, or the last digits of a loss.
TOLERANCE = 2e-3


@dataclass
class Measured:
    """What measuring again found.

    Attributes:
        figures: how many were compared.
        largest_gap: between a recorded figure and the same measured now.
        skipped: why nothing was measured; empty if it was.
    """

    figures: int = 0
    largest_gap: float = 0.0
    skipped: str = ""
    findings: list[Finding] = field(default_factory=list)

    def compare(self, place: str, found: dict[str, Any], now: dict[str, Any]) -> None:
        """Compare the figures that were measured now with those of a record."""
        for key, value in now.items():
            recorded = found.get(key)
            self.figures += 1
            if value is None or recorded is None:
                close = value is recorded
            else:
                gap = abs(float(value) - float(recorded))
                self.largest_gap = max(self.largest_gap, gap)
                close = gap <= TOLERANCE * max(1.0, abs(float(value)))
            if not close:
                fault = f"is {recorded}; the model, measured again, gives {value}"
                self.findings.append(Finding(f"{place}, {key}", fault))


def measure(
    config: ExperimentConfig, run: Path, planned: Sequence[grid.Cell], cells: Sequence[CellRecords]
) -> Measured:
    """Measure all models of all cells; data that cannot be read skip it, with the reason."""
    report = Measured()
    try:
        federation = prepare(config)
    except SecureFLError as error:
        report.skipped = str(error)
        return report
    torch.set_num_threads(config.threads)
    records = {cell.folder.name: cell for cell in cells}
    for cell in planned:
        if cell.name in records:
            measure_cell(cell, records[cell.name], run, federation, report)
    return report


def measure_cell(
    cell: grid.Cell, records: CellRecords, run: Path, federation: Federation, report: Measured
) -> None:
    """Measure the models of one cell into the report."""
    clean = None if cell.run.clean else run / "cells" / cell.clean
    judge = Judge(federation, cell.run.attack.build(cell.run.experiment.extensions), clean)
    if records.rounds[0]["model_sha256"] != model_hash(federation.initial):
        fault = "is not the model that the seed gives"
        report.findings.append(Finding(f"{records.place}/models/round-000.npy", fault))
    for number, row in enumerate(records.rounds):
        model = read_model(model_path(records.folder, number))
        now = judge.observe(number, model)
        if row.get("candidate_sha256", row["model_sha256"]) == row["model_sha256"]:
            now |= measured(validate(federation, model))
        report.compare(f"{records.place}/rounds.jsonl line {number + 1}", row, now)
    final = read_model(records.folder / "models" / "final.npy")
    if records.closing["candidate_sha256"] == records.closing["model_sha256"]:
        now = dict(measured(validate(federation, final)))
        report.compare(f"{records.place}/closing.json", records.closing, now)
    result = result_of(records, final)
    report.compare(
        f"{records.place}/cell.json", records.row, grid.measures(federation, judge, result)
    )
