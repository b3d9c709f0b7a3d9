"""A chain file read without executing it: who did what in which block.

For a picture of what happened. Whether it really happened so is what `ledger.audit` finds out:
nothing here is checked but the form of the file.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rlp

from ledger.audit.replay_verifier import ReplayVerifier
from ledger.audit.round_record import RoundRecord
from ledger.chains import blocks, export
from ledger.chains.blocks import call_data, read_header, read_receipt, recipient
from ledger.chains.export import (
    BlockLine,
    ChainFile,
    ExportError,
    HeaderLine,
    NodeFile,
    VisitedLine,
)
from ledger.errors import LedgerError
from ledger.members.keys import keccak
from ledger.protocol import contract
from ledger.protocol.messages import Messages
from ledger.protocol.typed_data import Domain

# Reputations after rounds, of all hospitals, that a chain file is read for: calls that nobody
# executes can end a round in a few bytes.
MOST_TOLD = 1_000_000
_ENDING = ("finalize", "abandon_round", "reveal_commitment")


@dataclass(frozen=True)
class Call:
    """One transaction.

    Attributes:
        hash: of the signed transaction.
        name: function of the contract; "__init__" creates it.
        args: its arguments by name.
        size: bytes of the transaction.
        refused: whether the contract refused it.
    """

    hash: bytes
    name: str
    args: dict[str, Any]
    size: int
    refused: bool = False


@dataclass(frozen=True)
class Block:
    """One block with its calls of the contract; its gas is that of all its transactions."""

    number: int
    hash: bytes
    timestamp: int
    gas_used: int
    calls: tuple[Call, ...]


@dataclass
class History:
    """A chain file in memory.

    Attributes:
        chain_id: EIP-155 chain id.
        contract: address of the contract.
        head: hash of the last block.
        sealed_by: validators who signed the head.
        blocks: in their order; of a node's chain those with calls of the contract.
        rounds: what the calls amount to, as an honest contract takes them.
        seats: addresses by role, in seat order.
        administration: administrators' changes, as (block, words).
        node_blocks: of a node's chain, numbers of the first and last block in the file.
    """

    chain_id: int
    contract: bytes
    head: bytes
    sealed_by: tuple[int, ...]
    blocks: list[Block] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)
    seats: dict[int, list[bytes]] = field(default_factory=dict)
    administration: list[tuple[int, str]] = field(default_factory=list)
    node_blocks: tuple[int, int] | None = None


def read_history(path: Path) -> History:
    """Read a chain file.

    Raises:
        ExportError: it cannot be read, or is not a chain file.
    """
    try:
        file = export.read(path)
    except ExportError as error:
        place = error.place if error.place == str(path) else f"{path} {error.place}"
        raise ExportError(place, error.fault) from error
    start = file.genesis if isinstance(file, ChainFile) else file.start
    verifier = ReplayVerifier(Messages(Domain(start.chain_id, start.contract)))
    signed_by = tuple(sorted(file.seal.signatures))
    history = History(start.chain_id, start.contract, file.seal.hash, signed_by)
    if isinstance(file, NodeFile):
        history.node_blocks = (file.blocks[0].number, file.blocks[-1].number)
    told = 0
    for line in file.blocks:
        if isinstance(line, HeaderLine):
            continue
        try:
            block = _block(line, start.contract)
            for call in block.calls:
                if call.refused:
                    continue
                if call.name == "__init__":
                    verifier.created(call.args)
                else:
                    verifier.called(block.number, call.name, call.args, [])
                    told += len(verifier.standings) * (call.name in _ENDING)
                    if told > MOST_TOLD:
                        raise LedgerError(
                            f"rounds and hospitals make more than {MOST_TOLD:,} reputations, "
                            "more than are read to be drawn"
                        )
        except (
            LedgerError,
            rlp.exceptions.RLPException,
            ValueError,
            TypeError,
            KeyError,
            IndexError,
        ) as error:
            place = f"{path}, block {line.number}"
            raise ExportError(place, f"does not read as a block of calls ({error})") from error
        if block.calls or isinstance(line, BlockLine):
            history.blocks.append(block)
    history.rounds, history.seats = verifier.rounds, verifier.seats
    history.administration = verifier.administration
    return history


def _block(line: BlockLine | VisitedLine, address: bytes) -> Block:
    if isinstance(line, VisitedLine):
        calls = [
            _call(raw, not read_receipt(receipt).succeeded)
            for raw, receipt in zip(line.transactions, line.receipts, strict=True)
            if blocks.calls(raw, address)
        ]
        header = read_header(line.header)
        return Block(line.number, line.hash, header.timestamp, header.gas_used, tuple(calls))
    fields, transactions, *_ = blocks.decode_rlp(line.rlp)
    for raw in transactions:
        to = recipient(raw)
        if to not in (b"", address):
            raise LedgerError(f"a transaction to 0x{to.hex()}, which is not the contract")
    header = read_header(rlp.encode(fields))
    calls = [_call(raw) for raw in transactions]
    return Block(line.number, line.hash, header.timestamp, header.gas_used, tuple(calls))


def _call(raw: bytes, refused: bool = False) -> Call:
    data = call_data(raw)
    if recipient(raw) == b"":
        return Call(keccak(raw), "__init__", contract.decode_creation(data), len(raw), refused)
    name, args = contract.decode_call(data)
    return Call(keccak(raw), name, args, len(raw), refused)
