"""What the audit of a run found, what it could not check, and both in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import NamedTuple

from eval.audit.measures import Measured
from eval.audit.records import Finding
from ledger.audit.report import AuditReport, render
from ledger.files import printable_lines


class Outcome(Enum):
    """How an audit ends; the value is the exit status of `secure-fl audit`."""

    PASSED = 0
    FAILED = 1
    INCOMPLETE = 3


class Unchecked(NamedTuple):
    """Something that was not compared: what, and why not."""

    what: str
    reason: str


@dataclass
class RunAudit:
    """What an audit of a run found.

    Attributes:
        run: the folder.
        findings: all that does not hold, in the order of the steps.
        unchecked: all that could not be compared.
        files: how many files the manifest covers.
        head: hash of the last block of the job's chain, hexadecimal; empty if it has none.
        anchored: whether `config.yaml` is the one whose hash the job's chain holds.
        chains: audits of the cells' chains, by cell; cells without a ledger have none.
        cells: number of cells.
        measured: what measuring again found; None if nothing was measured.
        pages: pages and figures that were drawn again and are the same.
        keys: whose keys signed, in words.
    """

    run: Path
    findings: list[Finding] = field(default_factory=list)
    unchecked: list[Unchecked] = field(default_factory=list)
    files: int = 0
    head: str = ""
    anchored: bool = False
    chains: dict[str, AuditReport] = field(default_factory=dict)
    cells: int = 0
    measured: Measured | None = None
    pages: list[str] = field(default_factory=list)
    keys: str = "Keys are simulated"

    @property
    def ok(self) -> bool:
        """Whether all that was compared holds; `outcome` says whether that was everything."""
        return not self.findings

    @property
    def outcome(self) -> Outcome:
        """FAILED if something does not hold, else INCOMPLETE if something was not compared."""
        if self.findings:
            return Outcome.FAILED
        return Outcome.INCOMPLETE if self.unchecked else Outcome.PASSED


def describe(report: RunAudit, verbose: bool = False) -> str:
    """The audit for a reader: outcome, every finding, what was not checked, what rests on what.

    Args:
        report: from `eval.audit.run.audit_run`.
        verbose: tell also what each cell's chain recorded.
    """
    return printable_lines("\n".join(_lines(report, verbose)))


def _lines(report: RunAudit, verbose: bool) -> Iterator[str]:
    yield f"audit of {report.run}: {_verdict(report)}"
    for finding in report.findings:
        yield f"  {finding.place}: {finding.fault}"
    for what, reason in report.unchecked:
        yield f"  not checked: {what}: {reason}"
    yield ""
    yield f"files      {report.files} are in manifest.json, with the hash of each"
    yield f"job chain  head 0x{report.head}" if report.head else "job chain  cannot be executed"
    yield "           nodes signed the hashes of config.yaml, manifest.json and summary.json"
    chains = report.chains.values()
    blocks, signatures = sum(c.blocks for c in chains), sum(c.signatures for c in chains)
    yield (
        f"on chain   {len(report.chains)} of {report.cells} cells, with a ledger: {blocks} blocks "
        f"executed again, {signatures} signatures checked;"
    )
    yield "           settings, models of each round, commitments, accepted hospitals, openings,"
    yield "           update, validators' metrics, reputations, all rows but their times"
    external = [chain.node_blocks for chain in chains if chain.node_blocks]
    if external:
        count = sum(last - first + 1 for first, last in external)
        yield (
            f"on a node  {len(external)} chain{'s' * (len(external) > 1)}: {count} headers follow "
            "from each other; the contract's calls"
        )
        yield "           were executed again, the node's agreement on its blocks was not checked"
    yield (
        f"manifest   {report.cells - len(report.chains)} cells without a ledger, of all cells "
        "cell.json and times, and of\n           environment.json command, machine and versions:"
    )
    yield "           nothing but the manifest and the job chain hold them"
    if report.measured is not None:
        yield (
            f"measured   {report.measured.figures} figures again from models and data, largest gap "
            f"{report.measured.largest_gap:.1e}"
        )
    drawn = f"{len(report.pages)} pages and figures drawn again, the same to the last byte"
    yield "pages      " + (drawn if report.pages else "none compared")
    yield (
        f"{report.keys}: a folder made anew as a whole, chains and all, passes. To exclude it "
        "give\nthe head that the run printed: secure-fl audit RUN --head 0x..."
    )
    if verbose:
        for name, chain in report.chains.items():
            yield f"\ncells/{name}\n{render(chain)}"


def _verdict(report: RunAudit) -> str:
    if report.outcome is Outcome.FAILED:
        missing = f", {len(report.unchecked)} thing(s) not checked" if report.unchecked else ""
        return f"FAILED, {len(report.findings)} finding(s){missing}"
    if report.outcome is Outcome.INCOMPLETE:
        return f"INCOMPLETE, {len(report.unchecked)} thing(s) not checked; all else holds"
    return "PASSED"
