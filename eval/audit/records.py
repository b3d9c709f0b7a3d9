"""Checks of one cell's records: against each other, and against the cell's chain.

Every function yields findings and trusts nothing that it reads. The order of trust is: the chain,
which was executed again before; then the records whose hashes it holds; then the rest.
"""

from __future__ import annotations

import struct
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import torch

from attacks.memory import Memory
from eval.jobs import cell_row
from eval.jobs.budget import KEYS as BUDGET
from eval.jobs.plan import Cell
from eval.metrics.detection import KEYS as DETECTION
from eval.metrics.gain import KEYS as GAINS
from eval.results.records import BY_CLASS, MALFORMED
from ledger.audit.report import AuditReport
from ledger.audit.round_record import RoundRecord
from ledger.protocol.parameters import MAX_LOSS, SCALE, from_fixed, loss_to_fixed, to_fixed
from secure_fl.errors import InputError
from secure_fl.files import read_json, read_lines, sha256
from secure_fl.simulation.folder import TRIGGER_HASH, model_path, records_digest, refused_path
from secure_fl.simulation.round import result_hash
from secure_fl.simulation.run import RunResult, choose_malicious

Row = dict[str, Any]

# Relative gap allowed where sums of floats are formed in another order.
SAME_SUM = 1e-9
# Units of 10**-18 allowed between a median of floats and the chain's median of integers.
SAME_MEDIAN = 1000


# Keys of what a run writes: rows of rounds.jsonl, the first and the others, of openings.jsonl, of
# which large ones have no value, and closing.json.
_JUDGED = {"accuracy", "loss", "f1", "status", "model_sha256"}
_OBSERVED = {"test_accuracy", "attack_success"}
FIRST_KEYS = _JUDGED | _OBSERVED | {"round", "settings_sha256", "data_sha256"}
ROUND_KEYS = (
    _JUDGED
    | _OBSERVED
    | {"round", "stopped", "accepted", "refused", "unopened", "disputes", "suspended"}
    | {"reputation", "samples", "seconds", "ledger_ms", "mpc"}
    | {"update_sha256", "result_sha256", "candidate_sha256"}
)
OPENING_KEYS = {"round", "name", "shape", "unit", "sha256"}
CLOSING_KEYS = _JUDGED | {"entry", "records_sha256", "candidate_sha256", "ledger_ms"}
TRAFFIC_KEYS = {"rounds", "bytes_online", "bytes_offline"}
SECONDS_KEYS = {"train", "server", "share", "aggregate", "ledger", "validate"} | {
    "mpc_online",
    "mpc_offline",
}


class Finding(NamedTuple):
    """Something that does not hold: where, and what is wrong there."""

    place: str
    fault: str


@dataclass(frozen=True)
class CellRecords:
    """The records of a cell, as read.

    Attributes:
        folder: the cell's folder.
        row: `cell.json`.
        rounds: rows of `rounds.jsonl`, round 0 first.
        openings: rows of `openings.jsonl`.
        closing: `closing.json`.
    """

    folder: Path
    row: Row
    rounds: list[Row]
    openings: list[Row]
    closing: Row

    @property
    def place(self) -> str:
        """The cell's folder, as places are named."""
        return f"cells/{self.folder.name}"


def read_cell(folder: Path) -> CellRecords:
    """Read a cell.

    Raises:
        InputError: a file is missing or is not JSON; the message names it.
    """
    cell = CellRecords(
        folder,
        read_json(folder / "cell.json"),
        read_lines(folder / "rounds.jsonl"),
        read_lines(folder / "openings.jsonl"),
        read_json(folder / "closing.json"),
    )
    for value in (cell.row, cell.closing, *cell.rounds, *cell.openings):
        if not isinstance(value, dict):
            raise InputError(f"cells/{folder.name} holds {value!r} where a record is expected")
    if not cell.rounds:
        raise InputError(f"cells/{folder.name}/rounds.jsonl holds no round")
    return cell


def same(one: Any, other: Any, gap: float = 0.0) -> bool:
    """Whether two JSON values agree; numbers within a relative gap."""
    if _number(one) and _number(other):
        return one == other or abs(one - other) <= gap * max(abs(one), abs(other))
    return type(one) is type(other) and bool(one == other)


def _number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def differences(place: str, found: Row, expected: Row, source: str, gap: float) -> list[Finding]:
    """One finding for each key of `expected` that `found` lacks or holds otherwise."""
    return [
        Finding(f"{place}, {key}", f"is {found.get(key)!r}; {source} give {value!r}")
        for key, value in expected.items()
        if key not in found or not same(found[key], value, gap)
    ]


def rolled_back(cell: CellRecords) -> dict[int, Row]:
    """Rows of rounds, and the closing, whose model the contract refused, by their entry."""
    rows = {row["round"]: row for row in cell.rounds if "candidate_sha256" in row}
    rows[len(cell.rounds)] = cell.closing
    return {n: r for n, r in rows.items() if r["candidate_sha256"] != r["model_sha256"]}


def check_models(cell: CellRecords) -> Iterator[Finding]:
    """Each checkpoint has the hash that its round's row states; round after round is kept."""
    expected = {model_path(cell.folder, row["round"]): row["model_sha256"] for row in cell.rounds}
    expected[cell.folder / "models" / "final.npy"] = cell.closing["model_sha256"]
    for entry, row in rolled_back(cell).items():
        path = refused_path(cell.folder, entry)
        if path.is_file():  # runs of before kept none, which measuring again tells
            expected[path] = row["candidate_sha256"]
    for path, stated in expected.items():
        place = f"{cell.place}/models/{path.name}"
        if not path.is_file():
            yield Finding(place, "is missing")
        elif sha256(path.read_bytes()) != stated:
            yield Finding(place, "is not the model whose hash the records state")
    for path in sorted((cell.folder / "models").iterdir()):
        if path not in expected:
            yield Finding(f"{cell.place}/models/{path.name}", "belongs to no round")


def check_keys(cell: CellRecords) -> Iterator[Finding]:
    """Records hold what a run writes and nothing else: nobody compares another key."""
    first, *played = cell.rounds
    yield from strange_keys(f"{cell.place}/rounds.jsonl line 1", first, FIRST_KEYS)
    for number, row in enumerate(played, start=2):
        place = f"{cell.place}/rounds.jsonl line {number}"
        yield from strange_keys(place, row, ROUND_KEYS | (row.keys() & {TRIGGER_HASH}))
        yield from strange_keys(f"{place}, mpc", row["mpc"], TRAFFIC_KEYS)
        spent = row["seconds"]
        yield from strange_keys(f"{place}, seconds", spent, SECONDS_KEYS & spent.keys())
    for number, row in enumerate(cell.openings, start=1):
        place = f"{cell.place}/openings.jsonl line {number}"
        yield from strange_keys(place, row, OPENING_KEYS | (row.keys() & {"value"}))
    yield from strange_keys(f"{cell.place}/closing.json", cell.closing, CLOSING_KEYS)


def strange_keys(place: str, found: Row, written: Collection[str]) -> Iterator[Finding]:
    """One finding for each key that is missing, or that no run writes."""
    for key in sorted(found.keys() ^ set(written)):
        fault = "is missing" if key in written else "is nothing that a run writes"
        yield Finding(f"{place}, {key}", fault)


def check_rounds(cell: CellRecords) -> Iterator[Finding]:
    """Rounds are complete, each result has its hash, and the closing names the records' digest."""
    for number, row in enumerate(cell.rounds):
        place = f"{cell.place}/rounds.jsonl line {number + 1}"
        if row["round"] != number:
            yield Finding(place, f"is round {row['round']}, not {number}")
        elif number > 0:
            yield from _check_round(cell, place, row, cell.rounds[number - 1]["model_sha256"])
    strays = {opening["round"] for opening in cell.openings} - set(range(1, len(cell.rounds)))
    for number in sorted(strays):
        yield Finding(f"{cell.place}/openings.jsonl", f"opens values in round {number}")
    place = f"{cell.place}/closing.json"
    if cell.closing["entry"] != len(cell.rounds):
        yield Finding(f"{place}, entry", f"is not {len(cell.rounds)}, one above the last round")
    if cell.closing["records_sha256"] != records_digest(cell.rounds, cell.openings):
        yield Finding(
            f"{place}, records_sha256", "is not the digest of rounds.jsonl and openings.jsonl"
        )


def _check_round(cell: CellRecords, place: str, row: Row, before: str) -> Iterator[Finding]:
    opened = [opening for opening in cell.openings if opening["round"] == row["round"]]
    digest = result_hash(row["round"], row["accepted"], opened, row["update_sha256"])
    if digest != row["result_sha256"]:
        yield Finding(
            f"{place}, result_sha256",
            "is not the hash of the round's accepted flags, openings and update",
        )
    kept = row["candidate_sha256"] if row["status"] != "abnormal" else before
    if row["model_sha256"] != kept:
        yield Finding(f"{place}, model_sha256", f"is not the model that {row['status']} keeps")
    for opening in opened:
        values = opening.get("value")
        if values is not None and None not in values:
            packed = struct.pack(f"<{len(values)}d", *values)
            if sha256(packed) != opening["sha256"]:
                yield Finding(
                    f"{cell.place}/openings.jsonl, round {row['round']}, {opening['name']}",
                    "the value does not have the hash stated",
                )


def check_against_chain(cell: CellRecords, chain: AuditReport) -> Iterator[Finding]:
    """Every round, and the closing entry, say what the chain recorded."""
    entries = {record.round: record for record in chain.rounds if record.round > 0}
    numbers = [*range(1, len(cell.rounds)), cell.closing["entry"]]
    for number, count in Counter([*entries, *numbers]).items():
        if count == 1:
            where = "the chain" if number in entries else "the records"
            yield Finding(f"{cell.place}, round {number}", f"is in {where} alone")
    before = cell.rounds[0]["model_sha256"]
    for number, row in enumerate(cell.rounds):
        place = f"{cell.place}/rounds.jsonl line {number + 1}"
        if number in entries:
            result = {"result_sha256": row["result_sha256"]}
            yield from _against(place, row | result, entries[number], before)
        before = row["model_sha256"]
    closing, number = cell.closing, cell.closing["entry"]
    if number in entries:
        last = {"accepted": [None] * len(entries[number].reputations)}
        place = f"{cell.place}/closing.json"
        found = closing | last | {"result_sha256": closing["records_sha256"]}
        yield from _against(place, found, entries[number], before)
    if cell.row.get("chain_head") != chain.head.hex():
        yield Finding(f"{cell.place}/cell.json, chain_head", "is not the head of the cell's chain")


def _against(place: str, row: Row, entry: RoundRecord, before: str) -> Iterator[Finding]:
    """One round's row against the chain's record of it; `before`: the model it started from."""
    flags = list(enumerate(row["accepted"]))
    disputes = [(d["hospital"], d["node"], d["at_fault"]) for d in row.get("disputes", ())]
    decided = [(*place, at_fault) for *place, at_fault in disputes if at_fault]
    faulty = {hospital for hospital, _, at_fault in decided if at_fault == "hospital"}
    facts: dict[str, tuple[Any, Any]] = {
        "model before": (before, entry.model.hex()),
        "result_sha256": (row["result_sha256"], entry.result.hex()),
        "candidate_sha256": (row["candidate_sha256"], entry.candidate.hex()),
        "model_sha256": (row["model_sha256"], entry.next_model.hex()),
        "status": (row["status"], entry.status),
        "accepted": ([i for i, flag in flags if flag is True], sorted(entry.accepted)),
        "rejected": (
            sorted({i for i, flag in flags if flag is False} | faulty),
            sorted(entry.rejected),
        ),
        "committed": (
            sorted([i for i, flag in flags if flag is not None] + row.get("unopened", [])),
            sorted(entry.commitments),
        ),
        "disputes": (
            decided,
            [(h, node, "hospital" if guilty else "node") for h, node, guilty in entry.disputes],
        ),
    }
    if "reputation" in row:
        out = [i for i, suspended in enumerate(entry.suspended) if suspended]
        facts["reputation"] = (row["reputation"], [from_fixed(r) for r in entry.reputations])
        facts["suspended"] = (row["suspended"], out)
    for name, (mine, chain) in facts.items():
        if mine != chain:
            yield Finding(f"{place}, {name}", f"is {_short(mine)}; the chain has {_short(chain)}")
    for name in ("accuracy", "loss", "f1"):
        recorded = None if entry.medians is None else getattr(entry.medians, name)
        if not _same_median(name, row[name], recorded):
            attested = "nothing" if recorded is None else f"{from_fixed(recorded)}"
            yield Finding(f"{place}, {name}", f"is {row[name]}; the validators attested {attested}")


def _same_median(name: str, value: float | None, recorded: int | None) -> bool:
    """Whether a row's median is the chain's; null stands for a number that is not finite."""
    if recorded is None:
        return False
    if value is None:
        return name == "loss" and recorded >= MAX_LOSS // 2
    fixed = loss_to_fixed(value) if name == "loss" else to_fixed(value)
    return abs(fixed - recorded) <= max(SAME_MEDIAN, recorded * SAME_MEDIAN // SCALE)


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 100 else text[:97] + "..."


def result_of(cell: CellRecords, final: torch.Tensor, memory: Memory | None = None) -> RunResult:
    """What the run returned, as far as its files tell, with what the attack remembered."""
    spent = [row.get("ledger_ms", 0.0) for row in cell.rounds] + [cell.closing["ledger_ms"]]
    return RunResult(
        model=final,
        malicious=tuple(cell.row["malicious"]),
        rows=cell.rounds,
        openings=cell.openings,
        closing=cell.closing,
        chain_head=cell.row["chain_head"],
        ledger_ms=sum(spent),
        memory=memory,
    )


def check_row(cell: CellRecords, planned: Cell) -> Iterator[Finding]:
    """What a cell's row says of settings, time and traffic follows from settings and rounds."""
    run, place = planned.run, f"{cell.place}/cell.json"
    malicious = tuple(cell.row["malicious"])  # who has most rows the data say
    if run.clean or run.attack.members != "most_data":
        malicious = choose_malicious(run)
    settings = cell_row.identity(planned, malicious, cell_row.permitted_attack(run))
    yield from differences(place, cell.row, settings, "the settings", 0.0)
    if cell.rounds[0]["settings_sha256"] != run.sha256:
        yield Finding(f"{cell.place}/rounds.jsonl line 1", "the run had other settings")
    result = result_of(cell, torch.empty(0))
    costs = cell_row.costs(run.defence, run.experiment.privacy, result)
    before = set() if "epsilon_by_hospital" in cell.row else {"epsilon"}
    if before:  # and of the privacy budget a looser bound
        costs = {key: value for key, value in costs.items() if key not in BUDGET}
    if cell.row.keys() & set(DETECTION):  # rows that an earlier version wrote have none
        costs |= cell_row.named(run, result)
    yield from differences(place, cell.row, costs, "the rounds", SAME_SUM)
    written = {*settings, *costs, *cell_row.MEASURES, *DETECTION, *before, "objective", "seconds"}
    # How many classes there are the data say: `eval.audit.measures` holds these to them.
    yield from strange_keys(place, cell.row, written | (cell.row.keys() & {BY_CLASS}))


def check_failed(failed: Collection[str], missing: Collection[str]) -> Iterator[Finding]:
    """Cells said to have failed are cells of the settings, and are not there."""
    for name in sorted(set(failed) - set(missing)):
        yield Finding(f"summary.json, failed, {name}", "is there, or is no cell of the settings")


def check_summary(summary: Row, expected: Row, cells: Sequence[CellRecords]) -> Iterator[Finding]:
    """Every figure of the summary is the one in the cell's own file.

    The gain retained stands in the summary alone; `eval.audit.measures` measures it again.
    """
    head = {key: value for key, value in expected.items() if key != "rows"}
    yield from differences("summary.json", summary, head, "the run's files", SAME_SUM)
    for key in summary.keys() - expected.keys() - {"failed"}:
        yield Finding(f"summary.json, {key}", "is nothing that a run writes")
    rows = summary["rows"]
    if len(rows) != len(cells):
        yield Finding("summary.json, rows", f"are {len(rows)} for {len(cells)} cells")
    for number, (row, cell) in enumerate(zip(rows, cells, strict=False), start=1):
        place = f"summary.json, row {number} ({cell.folder.name})"
        yield from differences(place, row, cell.row, f"{cell.place}/cell.json", 0.0)
        for key in row.keys() - cell.row.keys() - set(GAINS):
            yield Finding(f"{place}, {key}", "is not in the cell's own file")


def guarded(place: str, findings: Iterable[Finding]) -> list[Finding]:
    """Collect findings; records of another shape than this program writes are one finding more."""
    collected: list[Finding] = []
    try:
        for finding in findings:
            collected.append(finding)
    except (InputError, ValueError, OSError, struct.error) as error:
        collected.append(Finding(place, str(error)))
    except MALFORMED as error:
        collected.append(Finding(place, f"is not of the form that a run writes ({error!r})"))
    return collected
