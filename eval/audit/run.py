"""Audit of a run folder: every file against the manifest, every record against a chain.

1. Files: each has the hash that the manifest states; none is missing, none was added.
2. Job chain: executed again; its nodes signed the hashes of settings, manifest and summary.
3. Cells' chains: executed again (`ledger.audit`); every round's models, result, verdicts, metrics
   and reputations, and the digest over all rounds and openings, are those on the chain.
4. Records: checkpoints, results, openings, rows and summary agree with each other, so that a
   manifest made anew does not cover a change; they hold nothing that no run writes.
5. Settings: cells, rounds, contracts, seats and openings are those that `config.yaml` asks for.
6. Measures: the models are measured again on the data, and give the figures recorded.
7. Pages: report, explorer and figures are drawn again, and are the same.

What a step cannot compare is named, with the reason; the outcome is then INCOMPLETE, not PASSED.
Whose keys are the right ones no folder can tell, so somebody who makes the whole folder anew,
chains and all, passes. The job chain's head, which a run prints at its end, excludes that.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

from eval.audit.measures import Measured, measure
from eval.audit.outcome import Outcome as Outcome
from eval.audit.outcome import RunAudit, Unchecked
from eval.audit.outcome import describe as describe
from eval.audit.pages import check_pages
from eval.audit.records import (
    CellRecords,
    Finding,
    check_against_chain,
    check_failed,
    check_keys,
    check_models,
    check_rounds,
    check_summary,
    guarded,
    read_cell,
)
from eval.audit.settings import check_against_settings, check_contract, check_environment
from eval.audit.triggers import check_triggers
from eval.jobs import grid, starting
from eval.jobs.manifest import JOB_CHAIN, MANIFEST, entry, listed_files, read_manifest
from eval.jobs.plan import plan
from eval.jobs.run_lock import HOLDER, LOCK
from ledger.audit.chain_file import audit
from ledger.audit.report import AuditReport
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.files import read_json, sha256
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import read_config
from secure_fl.settings.permitted import permit
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.folder import check_folder

# Variable under which Python leaves the current directory out of its path.
SAFE_PATH = "PYTHONSAFEPATH"

Replay = Callable[[Path], AuditReport]


def audit_run(
    run: Path,
    *,
    head: str | None = None,
    measures: bool = True,
    data: Path | None = None,
    processes: int = 1,
    replay: Replay = audit,
    allow: Sequence[str] = (),
    tell: Callable[[str], None] = lambda _: None,
    federation: Federation | None = None,
) -> RunAudit:
    """Audit a run folder.

    Args:
        run: the folder.
        head: hash, hexadecimal, that the job's chain must end in, if known from elsewhere.
        measures: measure the models again (step 6); needs the data.
        data: where the data are, of a run with `data.path`, whose own word for it is not followed.
        processes: how many processes execute chains side by side; 1 stays in this one.
        replay: executes a chain file again and reports on it.
        allow: code of somebody's own, "module:name" each, that may be imported to check a run
            made with it. The folder itself never decides what is imported.
        tell: takes a line for each step, while it goes on.
        federation: data and model of a run that was handed them in Python.

    Raises:
        InputError: the folder is not that of a run.
        ConfigError: a name in `allow` that cannot be imported.
    """
    extensions = permit(allow)
    if not (run / "cells").is_dir():
        raise InputError(f"{run} is not the folder of a run: it has no cells")
    check_folder(run)
    report = RunAudit(run)
    tell("comparing files with the manifest")
    report.findings += guarded(MANIFEST, _check_files(run, report))
    folders = sorted(path for path in (run / "cells").iterdir() if path.is_dir())
    files = {path.name: path / "chain.jsonl" for path in folders}
    files = {name: path for name, path in files.items() if path.exists()}
    replayed = _replay_all([run / JOB_CHAIN, *files.values()], replay, processes, tell)
    report.chains = dict(zip(files, replayed[1:], strict=True))
    report.findings += guarded(JOB_CHAIN, _check_job_chain(run, replayed[0], head, report))
    tell(f"comparing the records of {len(folders)} cells")
    cells = _check_cells(folders, report)
    report.cells = len(folders)
    try:
        config = read_config(run / "config.yaml")
    except SecureFLError as error:
        report.findings.append(Finding("config.yaml", str(error)))
        report.unchecked.append(Unchecked("settings, measures and pages", "no settings to read"))
        return report
    config.extensions = extensions
    report.unchecked += unbuilt(config)
    if config.ledger.keystore is not None:
        report.keys = "Keys are not compared with anybody's, and the job chain's are simulated"
    report.findings += _check_settings(config, run, cells, report)
    if measures and not report.anchored:
        reason = f"config.yaml is not the one on the job's chain ({JOB_CHAIN})"
        report.unchecked.append(Unchecked("measures", reason))
    elif measures:
        tell("measuring the models again")
        report.findings += guarded(
            "measures", _measure(config, run, cells, report, data, federation)
        )
    else:
        report.unchecked.append(Unchecked("measures", "--no-measure"))
    tell("drawing pages and figures again")
    report.findings += guarded("pages", check_pages(run, report))
    return report


def unbuilt(config: ExperimentConfig) -> Iterator[Unchecked]:
    """What cannot be checked since an attack or a rule is not here, or nobody permitted it."""
    for what, items in (("success of attack", config.attacks), ("openings of", config.defences)):
        for item in items:
            build = item.parts if isinstance(item, AttackConfig) else item.build
            inside = [name for name in item.own_names if name.startswith("__main__:")]
            try:
                build(config.extensions)
            except ConfigError as error:
                reason = str(error)
                if inside:
                    reason = (
                        f"{', '.join(inside)} is defined in the program or notebook that ran, "
                        "which no audit can import: move it into a file and run it from there"
                    )
                yield Unchecked(f"{what} {item.name}", reason)


def _check_files(run: Path, report: RunAudit) -> Iterator[Finding]:
    """Step 1; of a changed file of JSON lines it names the lines."""
    if not (run / MANIFEST).is_file():
        yield Finding(MANIFEST, "is missing: the run is not complete (secure-fl run --resume)")
        return
    if (run / LOCK).is_file() and not HOLDER.fullmatch((run / LOCK).read_bytes()):
        yield Finding(LOCK, "is not in the manifest, and no lock that a run leaves")
    listed, present = read_manifest(run), set(listed_files(run))
    report.files = len(listed)
    for name in sorted(listed.keys() | present):
        if name not in present:
            yield Finding(name, "is missing; the manifest lists it")
        elif name not in listed:
            yield Finding(name, "is not in the manifest")
        else:
            yield from _changed(name, entry(run / name), listed[name])


def _changed(name: str, found: Mapping[str, object], stated: Mapping[str, object]) -> list[Finding]:
    if found == stated:
        return []
    mine, theirs = found.get("lines"), stated.get("lines")
    if not isinstance(mine, list) or not isinstance(theirs, list) or len(mine) != len(theirs):
        return [Finding(name, "does not have the hash in the manifest")]
    changed = [i for i, pair in enumerate(zip(mine, theirs, strict=True), 1) if len(set(pair)) > 1]
    lines = ", ".join(f"line {i}" for i in changed) or "the file"
    return [Finding(name, f"{lines} does not have the hash in the manifest")]


def _check_job_chain(
    run: Path, chain: AuditReport, head: str | None, report: RunAudit
) -> Iterator[Finding]:
    """Step 2."""
    report.head = chain.head.hex()
    for fault in chain.faults:
        yield Finding(f"{JOB_CHAIN}, {fault.place}", fault.fault)
    if head is not None and report.head != head.removeprefix("0x").lower():
        yield Finding(f"{JOB_CHAIN}, head", f"is 0x{report.head}, not the expected {head}")
    if not chain.ok:
        return
    if len(chain.rounds) != 1:
        yield Finding(JOB_CHAIN, f"must hold one entry; it holds {len(chain.rounds)}")
        return
    (record,) = chain.rounds
    config = run / "config.yaml"
    report.anchored = config.is_file() and sha256(config.read_bytes()) == record.model.hex()
    signed = {
        "config.yaml": record.model,
        MANIFEST: record.result,
        "summary.json": record.candidate,
    }
    for name, digest in signed.items():
        if not (run / name).is_file():
            yield Finding(name, "is missing; the job's chain has its hash")
        elif sha256((run / name).read_bytes()) != digest.hex():
            yield Finding(name, f"does not have the hash on the job's chain ({JOB_CHAIN})")


@contextmanager
def away_from_here() -> Iterator[None]:
    """Let processes started meanwhile find no module in the current directory.

    They are started by `python -c`, which would take a file `socket.py` there, in a folder that may
    be the very one to audit, for Python's own.
    """
    before = os.environ.get(SAFE_PATH)
    os.environ[SAFE_PATH] = "1"
    try:
        yield
    finally:
        if before is None:
            del os.environ[SAFE_PATH]
        else:
            os.environ[SAFE_PATH] = before


def _replay_all(
    files: Sequence[Path], replay: Replay, processes: int, tell: Callable[[str], None]
) -> list[AuditReport]:
    """Execute chains again, side by side in fresh processes if there are several."""

    def told(reports: Iterable[AuditReport]) -> list[AuditReport]:
        done = []
        for path, report in zip(files, reports, strict=True):
            done.append(report)
            tell(f"chain {len(done)} of {len(files)} executed again: {path.parent.name}")
        return done

    if processes == 1:
        return told(map(replay, files))
    with (
        away_from_here(),
        ProcessPoolExecutor(processes, mp_context=get_context("spawn")) as pool,
    ):
        try:
            return told(pool.map(replay, files))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _check_cells(folders: Sequence[Path], report: RunAudit) -> list[CellRecords]:
    """Steps 3 and 4 within each cell; returns those that could be read."""
    cells = []
    for folder in folders:
        place = f"cells/{folder.name}"
        try:
            cell = read_cell(folder)
        except InputError as error:
            report.findings.append(Finding(place, str(error)))
            continue
        cells.append(cell)
        for check in (check_keys, check_models, check_triggers, check_rounds):
            report.findings += guarded(place, check(cell))
        chain = report.chains.get(folder.name)
        if chain is None:
            if cell.row.get("chain_head") is not None:
                report.findings.append(Finding(f"{place}/chain.jsonl", "is missing"))
            continue
        for fault in chain.faults:
            where = f"{place}/chain.jsonl, {fault.place}"
            report.findings.append(Finding(where, fault.fault))
        if chain.ok:
            report.findings += guarded(place, check_against_chain(cell, chain))
    return cells


def _check_settings(
    config: ExperimentConfig, run: Path, cells: Sequence[CellRecords], report: RunAudit
) -> list[Finding]:
    """Step 5: the planned cells are there and are as the settings ask; so is the summary."""
    planned = {cell.name: cell for cell in plan(config)}
    by_name = {cell.folder.name: cell for cell in cells}
    findings: list[Finding] = []
    failed = _failed_cells(run)
    for name in sorted(planned.keys() ^ by_name.keys()):
        missing = name in planned
        if missing and name in failed and not (run / "cells" / name).exists():
            reason = f"the cell failed in the run: {failed[name]}"
            report.unchecked.append(Unchecked(f"cells/{name}", reason))
            continue
        fault = "is missing or unreadable" if missing else "is not a cell of the settings"
        findings.append(Finding(f"cells/{name}", fault))
    ordered = [by_name[name] for name in planned if name in by_name]
    for cell in ordered:
        mine = planned[cell.folder.name]
        findings += guarded(cell.place, check_against_settings(cell, mine))
        chain = report.chains.get(cell.folder.name)
        if chain is not None and chain.ok:
            findings += guarded(cell.place, check_contract(cell, mine, chain))

    def check() -> Iterator[Finding]:
        expected = grid.summarise(config, run, [cell.row for cell in ordered])
        done = [cell.folder.name for cell in ordered]
        yield from check_failed(failed, planned.keys() - set(done))
        yield from check_summary(read_json(run / "summary.json"), expected, ordered)
        yield from check_environment(read_json(run / starting.ENVIRONMENT), config, run, ordered)

    return findings + guarded("summary.json", check())


def _failed_cells(run: Path) -> dict[str, str]:
    """Reasons by cell that the summary says to have failed; none where it cannot be read."""
    try:
        return {str(each["cell"]): str(each["reason"]) for each in grid.failures(run)}
    except (InputError, KeyError, TypeError, ValueError):
        return {}


def _measure(
    config: ExperimentConfig,
    run: Path,
    cells: Sequence[CellRecords],
    report: RunAudit,
    own_data: Path | None,
    given: Federation | None,
) -> Iterator[Finding]:
    """Step 6."""
    report.measured = Measured()
    measure(config, run, plan(config), cells, report.measured, own_data, given)
    report.unchecked += [Unchecked(*each) for each in report.measured.skipped]
    yield from report.measured.findings
