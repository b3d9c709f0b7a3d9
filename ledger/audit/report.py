"""What an audit found, and the same in words."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from ledger.audit.round_record import Change, Fault, RoundRecord
from ledger.members.members import ROLE_NAMES
from ledger.protocol.parameters import SCALE
from ledger.protocol.reputation import Metrics


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
        parameters: words in force at the end, by name of the contract's variable.
        threshold: administrators who must approve a change.
        seats: addresses by role, in seat order.
        certificates: certificate hash by (role, seat).
        times: seconds since 1970 by block, as the chain counts them.
        node_blocks: of a node's chain, numbers of the first and last block that were followed;
            None for a chain in one process.
    """

    path: Path
    faults: list[Fault] = field(default_factory=list)
    head: bytes = b""
    blocks: int = 0
    transactions: int = 0
    signatures: int = 0
    rounds: list[RoundRecord] = field(default_factory=list)
    administration: list[tuple[int, str]] = field(default_factory=list)
    parameters: dict[str, tuple[int, ...]] = field(default_factory=dict)
    threshold: int = 0
    seats: dict[int, list[bytes]] = field(default_factory=dict)
    certificates: dict[tuple[int, int], bytes] = field(default_factory=dict)
    times: dict[int, int] = field(default_factory=dict)
    node_blocks: tuple[int, int] | None = None

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
    what = f"{report.blocks} blocks, {report.transactions} transactions"
    if report.node_blocks:
        what = f"the contract's {report.transactions} transactions, in {report.blocks} blocks"
    yield f"Executed again: {what}. Signatures checked: {report.signatures}."
    if report.head:
        yield f"Head of the chain: 0x{report.head.hex()}"
    if report.node_blocks:
        first, last = report.node_blocks
        yield (
            f"On an external node: the headers of blocks {first} to {last} follow from each other. "
            "Executed again is\nwhat the contract did; that the node's chain agreed on these "
            "blocks is not checked. Times are those\nthat its blocks state."
        )
    elif report.times:
        yield "Times count the chain's blocks from its genesis; they are not a clock's."
    if report.seats:
        yield ""
        yield "Members (number: key, hash of the certificate)"
        for role, name in ROLE_NAMES.items():
            for seat, address in enumerate(report.seats[role]):
                certificate = report.certificates.get((role, seat), b"")
                shown = f", 0x{certificate.hex()}" if certificate else ""
                yield f"  {name} {seat}: 0x{address.hex()}{shown}"
    if report.administration:
        yield ""
        yield "Decided by the administrators"
        for block, text in report.administration:
            yield f"  block {block}, {_moment(report, block)}: {text}"
    if report.rounds:
        yield ""
        yield from _losses(report.rounds)
        yield ""
        yield from _standings(report.rounds)
    for record in report.rounds:
        yield ""
        yield from _round(record, report)


def _losses(rounds: list[RoundRecord]) -> Iterator[str]:
    """Who lost reputation, when and why, in one place."""
    yield "Who lost reputation and why"
    none = True
    for record in rounds:
        for change in record.changes:
            if change.after < change.before or change.suspended:
                none = False
                yield f"  round {record.round}: {_change(change)}"
        if record.status == "void":
            none = False
            yield f"  round {record.round}: nobody; the coordinator is at fault, the round is void"
    if none:
        yield "  nobody"


def _standings(rounds: list[RoundRecord]) -> Iterator[str]:
    """How each hospital stands at the end."""
    ended = [record for record in rounds if record.reputations]
    yield "Hospitals at the end (reputation; rounds accepted, rejected)"
    if not ended:
        return
    last = ended[-1]
    for hospital, reputation in enumerate(last.reputations):
        accepted = sum(hospital in record.accepted for record in rounds)
        rejected = sum(hospital in record.rejected for record in rounds)
        out = "; suspended" if last.suspended[hospital] else ""
        yield (
            f"  hospital {hospital}: {reputation / SCALE:.4f}; {accepted} accepted, "
            f"{rejected} rejected{out}"
        )


def _moment(report: AuditReport, block: int) -> str:
    """Time of a block on the chain."""
    seconds = report.times.get(block)
    if seconds is None:
        return "time unknown"
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%S}"


def _round(record: RoundRecord, report: AuditReport) -> Iterator[str]:
    first, last = record.blocks[0], record.blocks[-1]
    yield f"Round {record.round} (blocks {first} to {last}): {record.status}"
    yield f"  from {_moment(report, first)} to {_moment(report, last)} on the chain"
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
