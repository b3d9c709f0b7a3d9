"""The chain as a file of JSON lines: start, blocks and seal.

Each line has one spelling (sorted keys, no spaces, lower-case hex), so any changed byte shows.

A chain in this process:

* ``{"kind": "genesis", "format": 1, "chain_id", "timestamp", "funded": [...], "contract"}``
* ``{"kind": "block", "number", "hash", "rlp"}`` for blocks 1, 2, ...

A contract on a node's chain:

* ``{"kind": "node", "format": 1, "chain_id", "contract"}``
* ``{"kind": "visited", "number", "hash", "header", "transactions": [...], "receipts": [...]}`` for
  the block that created the contract and each one that may hold its events
* ``{"kind": "header", "number", "hash", "header"}`` for each block between and after them

Both end with ``{"kind": "seal", "number", "hash", "signatures": {validator: signature}}``.
"""

import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.errors import LedgerError
from ledger.files import parse_json, read_plain, write_whole
from ledger.members.keys import Signature
from ledger.protocol.roles import SealsHead

FORMAT = 1


class ExportError(LedgerError):
    """A chain file is not one.

    Attributes:
        place: line and what stands there.
        fault: what is wrong with it.
    """

    def __init__(self, place: str, fault: str) -> None:
        super().__init__(f"{place}: {fault}")
        self.place = place
        self.fault = fault


@dataclass(frozen=True)
class GenesisLine:
    """Parameters of block 0 and the address of the contract."""

    chain_id: int
    timestamp: int
    funded: tuple[bytes, ...]
    contract: bytes


@dataclass(frozen=True)
class BlockLine:
    """One block."""

    number: int
    hash: bytes
    rlp: bytes


@dataclass(frozen=True)
class NodeLine:
    """Which contract on which chain."""

    chain_id: int
    contract: bytes


@dataclass(frozen=True)
class HeaderLine:
    """A node's block that holds nothing of the contract: its header alone."""

    number: int
    hash: bytes
    header: bytes


@dataclass(frozen=True)
class VisitedLine:
    """A node's block that may: its header, and all its transactions and receipts as hashed."""

    number: int
    hash: bytes
    header: bytes
    transactions: tuple[bytes, ...]
    receipts: tuple[bytes, ...]


@dataclass(frozen=True)
class SealLine:
    """The validators' signatures on the head."""

    number: int
    hash: bytes
    signatures: dict[int, Signature]


NodeBlock = HeaderLine | VisitedLine
Line = GenesisLine | BlockLine | NodeLine | NodeBlock | SealLine


@dataclass(frozen=True)
class ChainFile:
    """A file with a chain of this process: genesis, blocks 1, 2, ... and seal."""

    genesis: GenesisLine
    blocks: list[BlockLine]
    seal: SealLine


@dataclass(frozen=True)
class NodeFile:
    """A file with a contract's part of a node's chain: blocks without a gap, and seal."""

    start: NodeLine
    blocks: list[NodeBlock]
    seal: SealLine


def dump(line: Line) -> bytes:
    """The one spelling of a line, newline included."""
    fields: dict[str, Any]
    match line:
        case GenesisLine():
            fields = {
                "kind": "genesis",
                "format": FORMAT,
                "chain_id": line.chain_id,
                "timestamp": line.timestamp,
                "funded": [_hex(address) for address in line.funded],
                "contract": _hex(line.contract),
            }
        case BlockLine():
            fields = {
                "kind": "block",
                "number": line.number,
                "hash": _hex(line.hash),
                "rlp": _hex(line.rlp),
            }
        case NodeLine():
            fields = {
                "kind": "node",
                "format": FORMAT,
                "chain_id": line.chain_id,
                "contract": _hex(line.contract),
            }
        case HeaderLine():
            fields = {
                "kind": "header",
                "number": line.number,
                "hash": _hex(line.hash),
                "header": _hex(line.header),
            }
        case VisitedLine():
            fields = {
                "kind": "visited",
                "number": line.number,
                "hash": _hex(line.hash),
                "header": _hex(line.header),
                "transactions": [_hex(raw) for raw in line.transactions],
                "receipts": [_hex(raw) for raw in line.receipts],
            }
        case SealLine():
            fields = {
                "kind": "seal",
                "number": line.number,
                "hash": _hex(line.hash),
                "signatures": {
                    f"{i:03d}": _hex(signature.as_bytes())
                    for i, signature in line.signatures.items()
                },
            }
    return json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"


def parse(raw: bytes, place: str) -> Line:
    """Inverse of `dump`; anything but its exact spelling is refused."""
    try:
        line = _build(parse_json(raw.decode("ascii")))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(place, f"not a line of a chain file ({error})") from error
    if dump(line) != raw:
        raise ExportError(place, "not spelt as this program writes it")
    return line


def _build(fields: dict[str, Any]) -> Line:
    kind = fields["kind"]
    if kind in ("genesis", "node") and fields["format"] != FORMAT:
        raise ValueError(f"format {fields['format']!r}, expected {FORMAT}")
    if kind == "genesis":
        return GenesisLine(
            _count(fields["chain_id"]),
            _count(fields["timestamp"]),
            tuple(_bytes(address) for address in fields["funded"]),
            _bytes(fields["contract"]),
        )
    if kind == "block":
        return BlockLine(_count(fields["number"]), _bytes(fields["hash"]), _bytes(fields["rlp"]))
    if kind == "node":
        return NodeLine(_count(fields["chain_id"]), _bytes(fields["contract"]))
    if kind in ("header", "visited"):
        header = _count(fields["number"]), _bytes(fields["hash"]), _bytes(fields["header"])
        if kind == "header":
            return HeaderLine(*header)
        transactions, receipts = (
            tuple(_bytes(raw) for raw in fields[key]) for key in ("transactions", "receipts")
        )
        return VisitedLine(*header, transactions, receipts)
    if kind == "seal":
        return SealLine(
            _count(fields["number"]),
            _bytes(fields["hash"]),
            {
                int(i): Signature.from_bytes(_bytes(text))
                for i, text in fields["signatures"].items()
            },
        )
    raise ValueError(f"unknown kind {kind!r}")


def read(path: Path) -> ChainFile | NodeFile:
    """Read a chain file; its lines are in their order, and nothing else is checked.

    Raises:
        ExportError: it cannot be read or is not a chain file.
    """
    try:
        raw = read_plain(path, follow=True)
    except OSError as error:
        raise ExportError(str(path), f"cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise ExportError(str(path), str(error)) from error
    lines = [
        parse(text, f"line {number}")
        for number, text in enumerate(raw.splitlines(keepends=True), start=1)
    ]
    if len(lines) < 3:
        raise ExportError(str(path), "holds no chain: genesis, blocks and seal expected")
    start, *between, seal = lines
    if not isinstance(start, GenesisLine | NodeLine):
        raise ExportError("line 1", "is not the genesis")
    if not isinstance(seal, SealLine):
        raise ExportError(f"line {len(lines)}", "is not the seal: the file is cut off")
    if isinstance(start, GenesisLine):
        return ChainFile(start, _blocks(between), seal)
    return NodeFile(start, _node_blocks(between), seal)


def _blocks(lines: Sequence[Line]) -> list[BlockLine]:
    """Blocks 1, 2, ..."""
    checked = []
    for number, line in enumerate(lines, start=1):
        if not isinstance(line, BlockLine) or line.number != number:
            raise ExportError(f"line {number + 1}", f"is not block {number}")
        checked.append(line)
    return checked


def _node_blocks(lines: Sequence[Line]) -> list[NodeBlock]:
    """Blocks without a gap, from the one that created the contract."""
    checked: list[NodeBlock] = []
    for place, line in enumerate(lines, start=2):
        if not isinstance(line, HeaderLine | VisitedLine):
            raise ExportError(f"line {place}", "is not a block of a node's chain")
        if checked and line.number != checked[-1].number + 1:
            raise ExportError(f"line {place}", f"is not block {checked[-1].number + 1}")
        checked.append(line)
    if not isinstance(checked[0], VisitedLine):
        raise ExportError("line 2", "is not the block that created the contract")
    return checked


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write a chain file under a temporary name and rename it when it is whole."""
    write_whole(path, map(dump, lines), suffix=".part", sync=True)


def write_sealed(path: Path, lines: Iterable[Line], validators: Sequence[SealsHead]) -> bytes:
    """Write a chain file with the validators' signatures on its last block.

    Returns:
        Hash of that block.
    """
    head = bytes(32)

    def sealed() -> Iterator[Line]:
        nonlocal head
        number = 0
        for line in lines:
            if isinstance(line, BlockLine | HeaderLine | VisitedLine):
                number, head = line.number, line.hash
            yield line
        signed = {i: each.head(number, head) for i, each in enumerate(validators)}
        yield SealLine(number, head, signed)

    write(path, sealed())
    return head


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


def _count(value: Any) -> int:
    if type(value) is not int or not 0 <= value < 2**63:
        raise ValueError(f"{value!r} is not a count")
    return value


def _bytes(text: str) -> bytes:
    if not text.startswith("0x"):
        raise ValueError("hex must start with 0x")
    return bytes.fromhex(text[2:])
