"""Audit of a chain file: re-execute it, recompute it, and say in words what happened.

``python -m ledger.audit FILE`` prints the report; exit status 1 when anything does not hold.

1. Every line is spelt as this program writes it; block hashes match their headers, each block names
   its predecessor, the seal names the last block.
2. Every block is executed again from genesis: transactions, receipts and state must give the very
   hashes in its header. The contract must be the one shipped with this package.
3. A `ReplayVerifier` follows every call in plain Python: each signature, verdict, median and
   reputation.
4. The validators' signatures on the head are those of a quorum.

A file from an external node holds blocks that others' transactions are in;
`ledger.audit.node_file` says what is done in the place of steps 1 and 2.

What a file alone cannot show: somebody who makes a whole new chain with validators of their own
writes a file that passes. Give `head` or `validators` from another source to exclude it.
"""

import argparse
import re
from collections.abc import Sequence
from pathlib import Path

import rlp

from ledger.audit import node_file as audit_node
from ledger.audit.follow import MOVING, contract_words, follow
from ledger.audit.replay_verifier import ReplayVerifier
from ledger.audit.report import AuditReport, render
from ledger.audit.round_record import Fault
from ledger.chains import export
from ledger.chains.blocks import check_affordable, decode_rlp, recipient, trie_root
from ledger.chains.export import BlockLine, ChainFile, ExportError, NodeFile
from ledger.chains.in_process import Executed, Genesis, InProcessChain
from ledger.errors import LedgerError
from ledger.files import printable_lines
from ledger.members.keys import keccak
from ledger.members.members import HOSPITAL, VALIDATOR
from ledger.protocol import artifacts
from ledger.protocol.messages import Messages
from ledger.protocol.typed_data import Domain


def audit(
    path: str | Path, *, head: bytes | None = None, validators: Sequence[bytes] | None = None
) -> AuditReport:
    """Audit a chain file.

    Args:
        path: the file that `LedgerClient.export` wrote.
        head: hash that the chain must end in, if known from elsewhere.
        validators: addresses that the validators must have, if known from elsewhere.
    """
    report = AuditReport(Path(path))
    try:
        file = export.read(report.path)
        _check_links(file, report)
        if head is not None and file.seal.hash != head:
            report.faults.append(Fault("seal", f"head is not the expected 0x{head.hex()}"))
        if report.ok:
            verifier = _replay(file, report)
            verifier.check_seal(file.seal.number, file.seal.hash, file.seal.signatures)
            _take_over(verifier, report)
    except ExportError as error:
        report.faults.append(Fault(error.place, error.fault))
    if report.ok and validators is not None and report.seats[VALIDATOR] != list(validators):
        report.faults.append(Fault("seal", "the chain's validators are not the expected ones"))
    return report


def _check_links(file: ChainFile | NodeFile, report: AuditReport) -> None:
    """Hash each header and body, and follow the chain of hashes to the seal."""
    if isinstance(file, NodeFile):
        audit_node.check_links(file, report)
        return
    parent = None
    for block in file.blocks:
        place = _place(block)
        try:
            header, transactions, *rest = decode_rlp(block.rlp)
            header_hash, root = keccak(rlp.encode(header)), trie_root(transactions)
            named, stated_root = header[0], header[4]
        except (rlp.exceptions.RLPException, ValueError, IndexError, TypeError) as error:
            raise ExportError(place, f"is not a block ({error})") from error
        if header_hash != block.hash:
            report.faults.append(Fault(place, "the header does not have the hash stated"))
        if root != stated_root:
            report.faults.append(Fault(place, "the transactions are not those of the header"))
        if rest != [[], []]:
            report.faults.append(Fault(place, "holds uncles or withdrawals"))
        if parent is not None and named != parent:
            report.faults.append(Fault(place, "does not follow from the block before it"))
        parent = block.hash
    if (file.seal.number, file.seal.hash) != (len(file.blocks), parent):
        report.faults.append(Fault("seal", "does not name the last block"))


def _replay(file: ChainFile | NodeFile, report: AuditReport) -> ReplayVerifier:
    """Execute every block and let the verifier follow."""
    if isinstance(file, NodeFile):
        return audit_node.replay(file, report)
    genesis, address = file.genesis, file.genesis.contract
    chain = InProcessChain(Genesis(genesis.chain_id, genesis.timestamp, genesis.funded))
    if rlp.decode(file.blocks[0].rlp)[0][0] != chain.head_hash:
        raise ExportError("line 1, genesis", "block 1 does not follow from it")
    verifier = ReplayVerifier(Messages(Domain(genesis.chain_id, address)))
    for block in file.blocks:
        try:
            for raw in rlp.decode(block.rlp)[1]:
                check_affordable(raw, artifacts.bytecode())
                if (to := recipient(raw)) not in (b"", address):
                    raise LedgerError(f"a transaction to 0x{to.hex()}, which is not the contract")
            executed = chain.replay(block.rlp)
            names = [_follow(verifier, address, block.number, one) for one in executed]
        except LedgerError as error:
            raise ExportError(_place(block), str(error)) from error
        report.blocks += 1
        report.times[block.number] = chain.timestamp
        report.transactions += len(executed)
        if not MOVING.isdisjoint(names):
            words = contract_words(chain.call, address, len(verifier.seats[HOSPITAL]))
            verifier.check_words(words, _place(block))
    report.head = chain.head_hash
    return verifier


def _follow(verifier: ReplayVerifier, address: bytes, block: int, transaction: Executed) -> str:
    """Let the verifier see one transaction; returns the name of the call."""
    if transaction.to != address:
        raise LedgerError(f"a transaction to 0x{transaction.to.hex()}, which is not the contract")
    receipt = transaction.receipt
    return follow(verifier, block, transaction.data, receipt.succeeded, receipt.logs)


def _take_over(verifier: ReplayVerifier, report: AuditReport) -> None:
    """What the verifier saw, for the report."""
    report.faults += verifier.faults
    report.signatures = verifier.signatures
    report.rounds = verifier.rounds
    report.administration = verifier.administration
    report.parameters, report.threshold = verifier.parameters, verifier.threshold
    report.seats = verifier.seats
    report.certificates = verifier.certificates


def _place(block: BlockLine) -> str:
    return f"line {block.number + 1}, block {block.number}"


def main(argv: Sequence[str] | None = None) -> int:
    """Audit the file named on the command line and print the report."""
    parser = argparse.ArgumentParser(
        prog="python -m ledger.audit", description="Audit a chain file."
    )
    parser.add_argument("file", type=Path, help="chain file, JSON lines")
    parser.add_argument("--head", help="hash (0x...) that the chain must end in")
    parser.add_argument(
        "--validators", help="addresses (0x...,0x...) that the validators must have, in order"
    )
    options = parser.parse_args(argv)
    try:
        head = None if options.head is None else _hex_argument("--head", options.head, 32)
        named = None if options.validators is None else options.validators.split(",")
        validators = named and [_hex_argument("--validators", text, 20) for text in named]
    except ValueError as error:
        parser.error(str(error))
    report = audit(options.file, head=head, validators=validators)
    print(printable_lines(render(report)))
    return 0 if report.ok else 1


def _hex_argument(name: str, text: str, size: int) -> bytes:
    """Bytes of a known size as typed.

    Raises:
        ValueError: naming the option, the rule and the text.
    """
    digits = re.fullmatch(rf"(?:0x)?([0-9a-fA-F]{{{2 * size}}})", text.strip())
    if digits is None:
        raise ValueError(f"{name} must be 0x and {2 * size} hexadecimal digits; got {text!r}")
    return bytes.fromhex(digits[1])
