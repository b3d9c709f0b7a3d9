"""Audit of a chain file: re-execute it, recompute it, and say in words what happened.

``python -m ledger.audit FILE`` prints the report; exit status 1 when anything does not hold.

1. Every line is spelt as this program writes it; block hashes match their headers, each block names
   its predecessor, the seal names the last block.
2. Every block is executed again from genesis: transactions, receipts and state must give the very
   hashes in its header. The contract must be the one shipped with this package.
3. A `Witness` follows every call in plain Python: each signature, verdict, median and reputation.
4. The validators' signatures on the head are those of a quorum.

What a file alone cannot show: somebody who makes a whole new chain with validators of their own
writes a file that passes. Give `head` or `validators` from another source to exclude it.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import rlp
from trie import HexaryTrie

from ledger import contract, export
from ledger.chain import Executed, Genesis, InProcessChain
from ledger.errors import LedgerError
from ledger.export import BlockLine, ExportError, GenesisLine, SealLine
from ledger.keys import keccak
from ledger.members import HOSPITAL, VALIDATOR, Messages
from ledger.report import AuditReport, render
from ledger.reputation import Standing
from ledger.typed_data import Domain
from ledger.witness import Fault, Witness
from ledger.words import hospital_record

# Calls that change what the contract holds of a hospital.
_MOVING = {"register", "replace_key", "reinstate", "finalize"}


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
        genesis, blocks, seal = _read(report.path)
        _check_links(blocks, seal, report)
        if head is not None and seal.hash != head:
            report.faults.append(Fault("seal", f"head is not the expected 0x{head.hex()}"))
        if report.ok:
            _replay(genesis, blocks, seal, report)
    except ExportError as error:
        report.faults.append(Fault(error.place, error.fault))
    if report.ok and validators is not None and report.seats[VALIDATOR] != list(validators):
        report.faults.append(Fault("seal", "the chain's validators are not the expected ones"))
    return report


def _read(path: Path) -> tuple[GenesisLine, list[BlockLine], SealLine]:
    """Parse all lines and check their order."""
    try:
        raw = path.read_bytes()
    except OSError as error:
        raise ExportError(str(path), f"cannot be read: {error.strerror}") from error
    lines = []
    for number, text in enumerate(raw.splitlines(keepends=True), start=1):
        lines.append(export.parse(text, f"line {number}"))
    if len(lines) < 3:
        raise ExportError(str(path), "holds no chain: genesis, blocks and seal expected")
    genesis, *blocks, seal = lines
    if not isinstance(genesis, GenesisLine):
        raise ExportError("line 1", "is not the genesis")
    if not isinstance(seal, SealLine):
        raise ExportError(f"line {len(lines)}", "is not the seal: the file is cut off")
    checked = []
    for number, block in enumerate(blocks, start=1):
        if not isinstance(block, BlockLine) or block.number != number:
            raise ExportError(f"line {number + 1}", f"is not block {number}")
        checked.append(block)
    return genesis, checked, seal


def _check_links(blocks: Sequence[BlockLine], seal: SealLine, report: AuditReport) -> None:
    """Hash each header and body, and follow the chain of hashes to the seal."""
    parent = None
    for block in blocks:
        place = _place(block)
        try:
            header, transactions, *rest = rlp.decode(block.rlp)
            header_hash, root = keccak(rlp.encode(header)), _root(transactions)
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
    if (seal.number, seal.hash) != (len(blocks), parent):
        report.faults.append(Fault("seal", "does not name the last block"))


def _root(transactions: Sequence[bytes]) -> bytes:
    """Root of the trie over the transactions, as a header states it."""
    trie = HexaryTrie({})
    for index, transaction in enumerate(transactions):
        trie[rlp.encode(index)] = transaction
    return bytes(trie.root_hash)


def _replay(
    genesis: GenesisLine, blocks: Sequence[BlockLine], seal: SealLine, report: AuditReport
) -> None:
    """Execute every block and let the witness follow."""
    chain = InProcessChain(Genesis(genesis.chain_id, genesis.timestamp, genesis.funded))
    if rlp.decode(blocks[0].rlp)[0][0] != chain.head_hash:
        raise ExportError("line 1, genesis", "block 1 does not follow from it")
    witness = Witness(Messages(Domain(genesis.chain_id, genesis.contract)))
    for block in blocks:
        try:
            executed = chain.replay(block.rlp)
            names = [
                _follow(witness, genesis.contract, block.number, transaction)
                for transaction in executed
            ]
        except LedgerError as error:
            raise ExportError(_place(block), str(error)) from error
        report.blocks += 1
        report.times[block.number] = chain.timestamp
        report.transactions += len(executed)
        if not _MOVING.isdisjoint(names):
            words = _hospital_words(chain, genesis.contract, len(witness.seats[HOSPITAL]))
            witness.check_words(words, _place(block))
    witness.check_seal(seal.number, seal.hash, seal.signatures)
    report.head = chain.head_hash
    report.faults += witness.faults
    report.signatures = witness.signatures
    report.rounds = witness.rounds
    report.administration = witness.administration
    report.seats = witness.seats
    report.certificates = witness.certificates


def _follow(witness: Witness, address: bytes, block: int, transaction: Executed) -> str:
    """Let the witness see one transaction; returns the name of the call."""
    if transaction.to != address:
        raise LedgerError(f"a transaction to 0x{transaction.to.hex()}, which is not the contract")
    if not transaction.receipt.succeeded:
        return "reverted"
    if not witness.started:
        witness.created(contract.decode_creation(transaction.data))
        return "__init__"
    name, args = contract.decode_call(transaction.data)
    witness.called(
        block, name, args, [contract.decode_event(log) for log in transaction.receipt.logs]
    )
    return name


def _hospital_words(
    chain: InProcessChain, address: bytes, size: int
) -> list[tuple[bytes, Standing]]:
    """The contract's own record of every hospital."""
    name = "hospital_words"
    output = chain.call(name, address, contract.encode_call(name, 0, size))
    (words,) = contract.decode_output(name, output)
    return [(record.account, record.standing) for record in map(hospital_record, words)]


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
        head = _hex_argument(options.head) if options.head else None
        named = options.validators.split(",") if options.validators else None
        validators = None if named is None else [_hex_argument(text) for text in named]
    except ValueError as error:
        parser.error(str(error))
    report = audit(options.file, head=head, validators=validators)
    print(render(report))
    return 0 if report.ok else 1


def _hex_argument(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))


if __name__ == "__main__":
    sys.exit(main())
