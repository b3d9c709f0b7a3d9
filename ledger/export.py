"""The chain as a file: genesis, blocks and seal, one JSON object a line.

Each line has one spelling (sorted keys, no spaces, lower-case hex), so any changed byte shows.

* ``{"kind": "genesis", "format": 1, "chain_id", "timestamp", "funded": [...], "contract"}``
* ``{"kind": "block", "number", "hash", "rlp"}`` for blocks 1, 2, ...
* ``{"kind": "seal", "number", "hash", "signatures": {validator: signature}}``
"""

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ledger.errors import LedgerError
from ledger.keys import Signature

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
class SealLine:
    """The validators' signatures on the head."""

    number: int
    hash: bytes
    signatures: dict[int, Signature]


Line = GenesisLine | BlockLine | SealLine


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
        line = _build(json.loads(raw))
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ExportError(place, f"not a line of a chain file ({error})") from error
    if dump(line) != raw:
        raise ExportError(place, "not spelt as this program writes it")
    return line


def _build(fields: dict[str, Any]) -> Line:
    kind = fields["kind"]
    if kind == "genesis":
        if fields["format"] != FORMAT:
            raise ValueError(f"format {fields['format']!r}, expected {FORMAT}")
        return GenesisLine(
            _count(fields["chain_id"]),
            _count(fields["timestamp"]),
            tuple(_bytes(address) for address in fields["funded"]),
            _bytes(fields["contract"]),
        )
    if kind == "block":
        return BlockLine(_count(fields["number"]), _bytes(fields["hash"]), _bytes(fields["rlp"]))
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


def write(path: Path, lines: Iterable[Line]) -> None:
    """Write a chain file under a temporary name and rename it when it is whole."""
    part = path.with_name(path.name + ".part")
    with part.open("wb") as file:
        for line in lines:
            file.write(dump(line))
        file.flush()
        os.fsync(file.fileno())
    part.replace(path)


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
