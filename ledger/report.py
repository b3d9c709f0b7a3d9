"""What an audit found, and the same in words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from ledger.members import ROLE_NAMES
from ledger.parameters import SCALE
from ledger.reputation import Metrics
from ledger.witness import Change, Fault, RoundRecord


@dataclass
class AuditReport:
    """What an audit found.

    Attributes:
        path: the file.
        faults: all that does not hold, in the order found; empty when the audit passes.
        head: hash of the last block.
        blocks, transactions, signatures: how many were executed and checked.
        rounds: records of all rounds, as far as the replay came.
        administration: administrators' changes, as (block, words).
        seats: addresses by role, in seat order.
    """

    path: Path
    faults: list[Fault] = field(default_factory=list)
    head: bytes = b""
    blocks: int = 0
    transactions: int = 0
    signatures: int = 0
    rounds: list[RoundRecord] = field(default_factory=list)
    administration: list[tuple[int, str]] = field(default_factory=list)
    seats: dict[int, list[bytes]] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        """Whether everything holds."""
        return not self.faults


def render(report: AuditReport) -> str:
    """The report for a reader who knows neither chains nor code."""
    return "\n".join(_lines(report))


def _lines(report: AuditReport) -> Iterator[str]:
    yield f"Audit of {report.path}"
    yield ""
    if report.ok:
        yield "PASSED: every block, signature, verdict and reputation holds."
    else:
        yield f"FAILED: {len(report.faults)} fault(s)."
        for fault in report.faults:
            yield f"  {fault.place}: {fault.fault}"
    yield (
        f"Executed again: {report.blocks} blocks, {report.transactions} transactions. "
        f"Signatures checked: {report.signatures}."
    )
    if report.head:
        yield f"Head of the chain: 0x{report.head.hex()}"
    if report.seats:
        yield ""
        yield "Members (number: key)"
        for role, name in ROLE_NAMES.items():
            for seat, address in enumerate(report.seats[role]):
                yield f"  {name} {seat}: 0x{address.hex()}"
    if report.administration:
        yield ""
        yield "Decided by the administrators"
        for block, text in report.administration:
            yield f"  block {block}: {text}"
    for record in report.rounds:
        yield ""
        yield from _round(record)


def _round(record: RoundRecord) -> Iterator[str]:
    blocks = f"{record.blocks[0]} to {record.blocks[-1]}"
    yield f"Round {record.round} (blocks {blocks}): {record.status}"
    yield f"  started from model 0x{record.model.hex()}"
    if record.commitments:
        yield f"  committed to their shares: hospitals {_names(record.commitments)}"
    if record.posted_root:
        yield f"  their signed commitments lie under the root 0x{record.posted_root.hex()}"
    for hospital in record.claimed:
        yield f"  left out by the coordinator, put in by claim: hospital {hospital}"
    if record.status == "void":
        yield (
            f"  the coordinator is at fault: it posted what hospitals {_names(record.forged)} did "
            "not sign; the round is void"
        )
    for node, opened in sorted(record.opened.items()):
        missing = set(record.commitments) - set(opened)
        if missing:
            yield f"  node {node} attests that shares did not open: hospitals {_names(missing)}"
    for hospital, node, at_fault in record.disputes:
        guilty = f"hospital {hospital}" if at_fault else f"node {node}"
        yield f"  node {node} disputed the share of hospital {hospital}: {guilty} is at fault"
    if record.result:
        yield f"  aggregate 0x{record.result.hex()}"
    if record.candidate:
        yield f"  candidate model 0x{record.candidate.hex()}"
    if record.result:
        yield f"  accepted: {_names(record.accepted)}; rejected: {_names(record.rejected)}"
    for validator, metrics in sorted(record.metrics.items()):
        yield f"  validator {validator} measured {_metrics(metrics)}"
    if record.medians is not None:
        yield f"  medians: {_metrics(record.medians)}"
    if record.status == "abnormal":
        yield f"  degraded beyond the limits: rolled back to model 0x{record.next_model.hex()}"
    for change in record.changes:
        yield f"  {_change(change)}"


def _names(hospitals: Iterable[int]) -> str:
    return ", ".join(str(hospital) for hospital in sorted(hospitals)) or "none"


def _metrics(metrics: Metrics) -> str:
    return (
        f"accuracy {metrics.accuracy / SCALE:.4f}, loss {metrics.loss / SCALE:.4f}, "
        f"F1 {metrics.f1 / SCALE:.4f}"
    )


def _change(change: Change) -> str:
    verb = "gained" if change.after > change.before else "lost"
    text = (
        f"hospital {change.hospital} {verb} reputation, {change.before / SCALE:.4f} to "
        f"{change.after / SCALE:.4f}: {change.reason}"
    )
    return text + ("; suspended" if change.suspended else "")
