"""Audit of a contract's part of a node's chain, without the node.

1. Headers hash to their stated hashes and follow each other without a gap from the block that
   created the contract to the one that the seal names.
2. A block whose bloom filter says that it may hold an event of the contract has all its
   transactions and receipts in the file, and they are those of its header.
3. Every transaction to the contract is executed again in a private EVM and must come to the very
   events of its receipt; events of the contract in other transactions are refused.
4. The `ReplayVerifier` follows every call, as it does on a chain in this process.

What only the node's own chain can show stays open: that its makers agreed on these blocks, what
other contracts did, and that the senders could pay.
"""

from ledger.audit.follow import MOVING, contract_words, follow
from ledger.audit.replay_verifier import ReplayVerifier
from ledger.audit.replica import Outcome, Replica
from ledger.audit.report import AuditReport
from ledger.audit.round_record import Fault
from ledger.chains import blocks
from ledger.chains.export import ExportError, NodeBlock, NodeFile, VisitedLine
from ledger.errors import LedgerError
from ledger.members.keys import keccak
from ledger.members.members import HOSPITAL
from ledger.protocol import artifacts
from ledger.protocol.messages import Messages
from ledger.protocol.typed_data import Domain

# Where the first block stands in the file.
_FIRST_LINE = 2


def check_links(file: NodeFile, report: AuditReport) -> None:
    """Steps 1 and 2."""
    parent = None
    for line_number, line in enumerate(file.blocks, start=_FIRST_LINE):
        place = _place(line_number, line)
        for fault in _block_faults(line, file.start.contract, parent):
            report.faults.append(Fault(place, fault))
        parent = line.hash
    last = file.blocks[-1]
    if (file.seal.number, file.seal.hash) != (last.number, last.hash):
        report.faults.append(Fault("seal", "does not name the last block"))


def _block_faults(line: NodeBlock, address: bytes, parent: bytes | None) -> list[str]:
    faults = []
    if keccak(line.header) != line.hash:
        return ["the header does not have the hash stated"]
    try:
        header = blocks.read_header(line.header)
    except LedgerError as error:
        return [str(error)]
    if header.number != line.number:
        faults.append(f"the header is that of block {header.number}")
    if parent is not None and header.parent != parent:
        faults.append("does not follow from the block before it")
    if isinstance(line, VisitedLine):
        if blocks.trie_root(line.transactions) != header.transactions_root:
            faults.append("the transactions are not those of the header")
        if blocks.trie_root(line.receipts) != header.receipts_root:
            faults.append("the receipts are not those of the header")
    elif blocks.may_hold(header.bloom, address):
        faults.append("may hold events of the contract, and its transactions are left out")
    return faults


def replay(file: NodeFile, report: AuditReport) -> ReplayVerifier:
    """Steps 3 and 4.

    Raises:
        ExportError: a block's transactions do not come to its receipts.
    """
    address = file.start.contract
    replica = Replica(file.start.chain_id)
    verifier = ReplayVerifier(Messages(Domain(file.start.chain_id, address)))
    for line_number, line in enumerate(file.blocks, start=_FIRST_LINE):
        if not isinstance(line, VisitedLine):
            continue
        place = _place(line_number, line)
        names: list[str] = []
        try:
            for raw, receipt in zip(line.transactions, line.receipts, strict=True):
                outcome = _executed(replica, address, raw, receipt, line.number)
                if outcome is None:
                    continue
                logs = [emitted.log for emitted in outcome.emitted]
                names.append(follow(verifier, line.number, outcome.data, outcome.succeeded, logs))
            if not verifier.started:
                raise LedgerError("does not create the contract")
        except LedgerError as error:
            raise ExportError(place, str(error)) from error
        report.transactions += len(names)
        if names:
            report.blocks += 1
            report.times[line.number] = blocks.read_header(line.header).timestamp
        if not MOVING.isdisjoint(names):
            words = contract_words(replica.call, address, len(verifier.seats[HOSPITAL]))
            verifier.check_words(words, place)
    report.node_blocks = (file.blocks[0].number, file.blocks[-1].number)
    report.head = file.blocks[-1].hash
    return verifier


def _executed(
    replica: Replica, address: bytes, raw: bytes, receipt_bytes: bytes, block: int
) -> Outcome | None:
    """A transaction of the contract in a block executed again; None for somebody else's.

    Raises:
        LedgerError: it comes to something else than its receipt, or others' code called the
            contract.
    """
    receipt = blocks.read_receipt(receipt_bytes)
    if not blocks.calls(raw, address):
        if any(emitted.address == address for emitted in receipt.emitted):
            to = blocks.recipient(raw).hex()
            raise LedgerError(
                f"a transaction to 0x{to} reached the contract through another one's code, which "
                "is not executed again"
            )
        return None
    blocks.check_affordable(raw, artifacts.bytecode())
    outcome = replica.execute(raw, block)
    if outcome.succeeded != receipt.succeeded:
        words = ("was refused", "succeeded")
        raise LedgerError(
            f"a transaction from 0x{outcome.sender.hex()} {words[receipt.succeeded]} on the node, "
            f"and {words[outcome.succeeded]} when executed again"
        )
    if outcome.emitted != receipt.emitted:
        raise LedgerError(
            f"a transaction from 0x{outcome.sender.hex()} left other events on the node than when "
            "executed again"
        )
    return outcome


def _place(line_number: int, line: NodeBlock) -> str:
    return f"line {line_number}, block {line.number}"
