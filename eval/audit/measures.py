"""Measure again: every model of a run on the data, compared with the figures in its records.

Hashes show that nothing changed since the run; this shows that the figures belong to the models.
The last digits may differ between processors, so that a gap up to `TOLERANCE` passes.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from attacks import Attack
from attacks.base import trigger_moves
from eval.audit.records import CellRecords, Finding, guarded, result_of, rolled_back, strange_keys
from eval.audit.triggers import check_learned, recorded, relearned
from eval.jobs import cell_row, gains, starting
from eval.jobs.environment import PARTIES, parties
from eval.jobs.evaluate import Judge
from eval.jobs.plan import Cell
from eval.metrics.gain import KEYS as GAINS
from eval.results.records import BY_CLASS, read_object
from secure_fl.errors import ConfigError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.attacked_validators import liars, with_public_rows
from secure_fl.simulation.attackers import Attackers
from secure_fl.simulation.folder import model_path, read_model, refused_path
from secure_fl.simulation.labels import label_of
from secure_fl.simulation.parties import make_server, make_validators
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.round import measured, model_hash
from secure_fl.simulation.run import RunConfig, make_attackers, train_options
from secure_fl.threads import torch_threads

# Largest gap that passes: a few test cases at the threshold, or the last digits of a loss.
TOLERANCE = 2e-3
# Largest distance of a tuned model from the same tuned now, as a share of the way it went.
TUNING_TOLERANCE = 0.05
FINAL = "final.npy"


@dataclass
class Measured:
    """What measuring again found.

    Attributes:
        figures: how many were compared.
        largest_gap: between a recorded figure and the same measured now.
        skipped: what was not measured, and why.
    """

    figures: int = 0
    largest_gap: float = 0.0
    skipped: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)

    def compare(self, place: str, found: dict[str, Any], now: dict[str, Any]) -> None:
        """Compare the figures that were measured now with those of a record, group by group."""
        for key, value in now.items():
            recorded = found.get(key)
            if isinstance(value, dict):
                group = recorded if isinstance(recorded, dict) else {}
                self.compare(f"{place}, {key}", group, value)
                continue
            self.figures += 1
            if not isinstance(value, int | float) or not isinstance(recorded, int | float):
                close = value == recorded
            else:
                gap = abs(float(value) - float(recorded))
                self.largest_gap = max(self.largest_gap, gap)
                close = gap <= TOLERANCE * max(1.0, abs(float(value)))
            if not close:
                fault = f"is {recorded}; the model, measured again, gives {value}"
                self.findings.append(Finding(f"{place}, {key}", fault))


def measure(
    config: ExperimentConfig,
    run: Path,
    planned: Sequence[Cell],
    cells: Sequence[CellRecords],
    report: Measured,
    own_data: Path | None = None,
    given: Federation | None = None,
) -> None:
    """Measure all models of all cells into the report.

    Data and model that were handed over in Python are `given` again.

    Of data that are not shipped `own_data` says where they are. A path in the settings is not
    used: the folder may come from anybody, and would have any file read.

    Data that cannot be read leave all of it out, and an attack that cannot be built what its cells
    say of its success; data of another hash than the records state are a finding.
    """
    if config.data.path is not None and own_data is None:
        reason = "the data are not in the package: give yours with --data (data.path of the run)"
        report.skipped.append(("measures", reason))
        return
    try:
        federation = (
            prepare(_with_data(config, own_data)) if given is None else given.at(config.seed)
        )
    except SecureFLError as error:
        report.skipped.append(("measures", str(error)))
        return
    begun = read_object(run / starting.ENVIRONMENT)
    stated = begun.get(starting.DATA_HASH)
    if stated != federation.data_sha256:
        fault = f"is {stated}; the data here have {federation.data_sha256}"
        report.findings.append(Finding(f"{starting.ENVIRONMENT}, {starting.DATA_HASH}", fault))
        report.skipped.append(("measures", "the data here are not those of the record"))
        return
    # Records of before do not say who holds what.
    if PARTIES in begun and begun[PARTIES] != parties(federation):
        fault = "is not what the settings make of the data"
        report.findings.append(Finding(f"{starting.ENVIRONMENT}, {PARTIES}", fault))
    records = {cell.folder.name: cell for cell in cells}
    with torch_threads(config.threads):
        for cell in planned:
            if cell.name in records:
                report.findings += guarded(
                    f"cells/{cell.name}",
                    measure_cell(cell, records[cell.name], run, federation, report),
                )
        report.findings += guarded("summary.json", _measure_gains(run, records, federation, report))


def _measure_gains(
    run: Path, records: Mapping[str, CellRecords], federation: Federation, report: Measured
) -> Iterator[Finding]:
    """The gain retained in each of the summary's rows; rows of an earlier version have none."""
    rows = read_object(run / "summary.json")["rows"]
    if not any(row.keys() & set(GAINS) for row in rows):
        return
    done = [records[row["cell"]].row for row in rows]
    kept = gains.gains(done, run, federation)
    for number, row in enumerate(rows, start=1):
        place = f"summary.json, row {number} ({row['cell']})"
        now = kept.get(row["cell"], {})
        report.compare(place, row, now)
        yield from strange_keys(place, {k: row[k] for k in GAINS if k in row}, now)


def _with_data(config: ExperimentConfig, path: Path | None) -> ExperimentConfig:
    """The settings with the data in another place; what was permitted stays permitted."""
    if path is None:
        return config
    moved = copy(config)
    moved.data = replace(config.data, path=str(path))
    return moved


def measure_cell(
    cell: Cell, records: CellRecords, run: Path, federation: Federation, report: Measured
) -> Iterator[Finding]:
    """Measure the models of one cell into the report; what is not a figure is yielded."""
    clean = None if cell.run.clean else run / "cells" / cell.clean
    attack = cell_row.permitted_attack(cell.run)
    unknown = attack is None
    label = label_of(cell.run.attack.target_label, federation.data)
    judge = Judge(federation, attack or Attack(), None if unknown else clean, label)
    if records.rounds[0]["model_sha256"] != model_hash(federation.initial):
        fault = "is not the model that the seed gives"
        yield Finding(f"{records.place}/models/round-000.npy", fault)
    if attack is not None and trigger_moves(attack) and not relearned(attack):
        reason = "its trigger is learned from what no record holds"
        report.skipped.append((f"{records.place}, how the trigger was learned", reason))
    strange = [] if attack is None else list(check_learned(cell, records, attack, federation))
    yield from strange
    if strange:
        report.skipped.append((f"measures of {records.place}", "its trigger is another"))
        return
    attackers = _permitted_attackers(cell.run, federation)
    public, lying = federation, None
    if attackers is None:
        reason = "an attack is not here, or nobody permitted it: its validators may lie"
        report.skipped.append((f"validators' figures of {records.place}", reason))
    else:
        public = with_public_rows(federation, attackers)
        lying = liars(attackers, len(federation.data.validators))
    validators = make_validators(federation.data.validators, lying=lying or ())
    refused = rolled_back(records)

    def proposed(entry: int, model: torch.Tensor) -> torch.Tensor | None:
        """What validators judged: the model that stands, or the one that they made fall."""
        if entry not in refused:
            return model
        path = refused_path(records.folder, entry)
        if path.is_file():
            return read_model(path)
        reason = "the model that was rolled back is not in the folder"
        report.skipped.append((f"validators' figures of {records.place}, entry {entry}", reason))
        return None

    def attested(entry: int, model: torch.Tensor) -> dict[str, Any]:
        return dict(measured([each.judge(federation, model, entry) for each in validators]))

    for number, row in enumerate(records.rounds):
        model = read_model(model_path(records.folder, number))
        now = judge.observe(number, model, recorded(records, number))
        judged = None if attackers is None else proposed(number, model)
        if judged is not None:
            now |= attested(number, judged)
        place = f"{records.place}/rounds.jsonl line {number + 1}"
        report.compare(place, row, _known(now, unknown))
    entry, final = len(records.rounds), read_model(records.folder / "models" / FINAL)
    closed = None if attackers is None else proposed(entry, final)
    if closed is not None:
        place = f"{records.place}/closing.json"
        report.compare(place, records.closing, attested(entry, closed))
        yield from _check_finish(cell, records, closed, public)
    memory = recorded(records, len(records.rounds) - 1)
    now = cell_row.measures(federation, judge, result_of(records, final, memory))
    place = f"{records.place}/cell.json"
    report.compare(place, records.row, _known(now, unknown))
    yield from _strange_classes(place, records.row.get(BY_CLASS, {}), now.get(BY_CLASS, {}))


def _permitted_attackers(run: RunConfig, federation: Federation) -> Attackers | None:
    """Who attacks and how; None if one of the attacks is not here, or nobody permitted it."""
    try:
        run.attack.parts(run.experiment.extensions)
    except ConfigError:
        return None
    return make_attackers(run, federation.rows)


def _strange_classes(place: str, found: Any, now: dict[str, Any]) -> Iterator[Finding]:
    """Figures of classes that the data do not have, and figures of classes that no run writes."""
    yield from strange_keys(f"{place}, {BY_CLASS}", found, now)
    for name in found.keys() & now.keys():
        yield from strange_keys(f"{place}, {BY_CLASS}, {name}", found[name], now[name])


def _check_finish(
    cell: Cell, records: CellRecords, final: torch.Tensor, federation: Federation
) -> Iterator[Finding]:
    """The final model is what the server makes of the last round's: itself, or tuned on the root.

    Tuning follows from that model, the public root and the seed; here it is done on the processor,
    whatever the run trained on. Its last digits may differ between processors, and training carries
    them further: a distance up to `TUNING_TOLERANCE` of the way that tuning goes passes.

    Args:
        cell, records: whose.
        final: what was proposed at the closing, whether it stands or was rolled back.
        federation: with the rows that the server sees.
    """
    run = cell.run
    last = read_model(model_path(records.folder, len(records.rounds) - 1))
    options = replace(train_options(run), device="cpu")
    server = make_server(federation, run.defence, options, run.experiment.seed)
    again, begun = server.finish(last, None), server.begins(last)
    way = float(torch.linalg.vector_norm(again - begun))
    apart = float(torch.linalg.vector_norm(again - final))
    if not apart <= TUNING_TOLERANCE * way:
        entry = len(records.rounds)
        name = refused_path(records.folder, entry).name if entry in rolled_back(records) else FINAL
        fault = f"is {apart:.3g} from what the tuning comes to, which goes {way:.3g} from its start"
        yield Finding(f"{records.place}/models/{name}", fault)


def _known(figures: dict[str, Any], unknown_attack: bool) -> dict[str, Any]:
    """The figures that can be told; of an attack that is not there nothing is known."""
    if not unknown_attack:
        return figures
    return {k: v for k, v in figures.items() if not k.startswith("attack_success")}
