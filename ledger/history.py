"""A chain file read without executing it: who did what in which block.

For a picture of what happened. Whether it really happened so is what `ledger.audit` finds out:
nothing here is checked but the form of the file.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import rlp

from ledger import contract, export
from ledger.errors import LedgerError
from ledger.export import BlockLine, ExportError, GenesisLine, SealLine
from ledger.keys import keccak
from ledger.members import Messages
from ledger.typed_data import Domain
from ledger.witness import RoundRecord, Witness

# Positions in a block's header.
_GAS_USED, _TIMESTAMP = 10, 11
_TYPED = 2


@dataclass(frozen=True)
class Call:
    """One transaction.

    Attributes:
        hash: of the signed transaction.
        name: function of the contract; "__init__" creates it.
        args: its arguments by name.
        size: bytes of the transaction.
    """

    hash: bytes
    name: str
    args: dict[str, Any]
    size: int


@dataclass(frozen=True)
class Block:
    """One block with its calls."""

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
        blocks: in their order.
        rounds: what the calls amount to, as an honest contract takes them.
        seats: addresses by role, in seat order.
        administration: administrators' changes, as (block, words).
    """

    chain_id: int
    contract: bytes
    head: bytes
    sealed_by: tuple[int, ...]
    blocks: list[Block] = field(default_factory=list)
    rounds: list[RoundRecord] = field(default_factory=list)
    seats: dict[int, list[bytes]] = field(default_factory=dict)
    administration: list[tuple[int, str]] = field(default_factory=list)


def read_history(path: Path) -> History:
    """Read a chain file.

    Raises:
        ExportError: it cannot be read, or is not a chain file.
    """
    genesis, lines, seal = _lines(path)
    witness = Witness(Messages(Domain(genesis.chain_id, genesis.contract)))
    history = History(genesis.chain_id, genesis.contract, seal.hash, tuple(sorted(seal.signatures)))
    for line in lines:
        try:
            block = _block(line, genesis.contract)
            for call in block.calls:
                if call.name == "__init__":
                    witness.created(call.args)
                else:
                    witness.called(block.number, call.name, call.args, [])
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
        history.blocks.append(block)
    history.rounds, history.seats = witness.rounds, witness.seats
    history.administration = witness.administration
    return history


def _lines(path: Path) -> tuple[GenesisLine, list[BlockLine], SealLine]:
    try:
        raw = path.read_bytes().splitlines(keepends=True)
    except OSError as error:
        raise ExportError(str(path), f"cannot be read: {error.strerror}") from error
    lines = [export.parse(text, f"{path} line {number}") for number, text in enumerate(raw, 1)]
    blocks = [line for line in lines if isinstance(line, BlockLine)]
    if len(lines) < 3 or len(blocks) != len(lines) - 2:
        raise ExportError(str(path), "is not genesis, blocks and seal")
    genesis, seal = lines[0], lines[-1]
    if not isinstance(genesis, GenesisLine) or not isinstance(seal, SealLine):
        raise ExportError(str(path), "is not genesis, blocks and seal")
    return genesis, blocks, seal


def _block(line: BlockLine, address: bytes) -> Block:
    header, transactions, *_ = rlp.decode(line.rlp)
    return Block(
        number=line.number,
        hash=line.hash,
        timestamp=int.from_bytes(header[_TIMESTAMP], "big"),
        gas_used=int.from_bytes(header[_GAS_USED], "big"),
        calls=tuple(_call(raw, address) for raw in _raw(transactions)),
    )


def _raw(transactions: Sequence[bytes]) -> Sequence[bytes]:
    if not all(isinstance(raw, bytes) and raw[:1] == bytes([_TYPED]) for raw in transactions):
        raise LedgerError("a transaction of another type than this program makes")
    return transactions


def _call(raw: bytes, address: bytes) -> Call:
    _, _, _, _, _, to, _, data, *_ = rlp.decode(raw[1:])
    if to == b"":
        return Call(keccak(raw), "__init__", contract.decode_creation(data), len(raw))
    if to != address:
        raise LedgerError(f"a transaction to 0x{to.hex()}, which is not the contract")
    name, args = contract.decode_call(data)
    return Call(keccak(raw), name, args, len(raw))
