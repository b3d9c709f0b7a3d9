"""Blocks of any EVM chain as bytes: headers, transactions and receipts, and the roots over them.

A node answers in JSON; what is hashed is RLP. Each function here that takes a node's answer gives
the bytes that the chain hashes, so that whoever reads them needs no trust in the spelling.

Sources: Ethereum's yellow paper, and EIPs 155, 658, 1559, 2718, 2930, 4399, 4788, 4844, 4895, 7685,
7702.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import rlp
from trie import HexaryTrie

from ledger.errors import LedgerError
from ledger.members.keys import Signature, keccak, recover
from ledger.protocol.contract import Log

Answer = Mapping[str, Any]

# Gas of a block: most that a transaction can use.
BLOCK_GAS = 60_000_000
# Fields of a header in the order they are hashed; a "#" marks numbers.
_HEADER = (
    *("parentHash", "sha3Uncles", "miner", "stateRoot", "transactionsRoot", "receiptsRoot"),
    *("logsBloom", "#difficulty", "#number", "#gasLimit", "#gasUsed", "#timestamp"),
    *("extraData", "mixHash", "nonce"),
)
# Those that forks have added since, each with all before it.
_LATER = (
    *("#baseFeePerGas", "withdrawalsRoot", "#blobGasUsed", "#excessBlobGas"),
    *("parentBeaconBlockRoot", "requestsHash"),
)
# Fields of a transaction before its signature, by type.
_TRANSACTION = {
    0: "#nonce #gasPrice #gas to #value input",
    1: "#chainId #nonce #gasPrice #gas to #value input accessList",
    2: "#chainId #nonce #maxPriorityFeePerGas #maxFeePerGas #gas to #value input accessList",
    3: "#chainId #nonce #maxPriorityFeePerGas #maxFeePerGas #gas to #value input accessList "
    "#maxFeePerBlobGas blobVersionedHashes",
    4: "#chainId #nonce #maxPriorityFeePerGas #maxFeePerGas #gas to #value input accessList "
    "authorizationList",
}
# The v of a transaction of type 0 that names its chain begins here (EIP-155), even for parity 0.
_WITH_CHAIN_ID = 35
# Length that RLP states in the first byte; a longer one has its own bytes.
_SHORT = 55
# Block, its transactions, one of them, its access list, an entry, its keys.
_DEEPEST = 8
_DECODING = (rlp.exceptions.RLPException, ValueError, IndexError, TypeError)


@dataclass(frozen=True)
class Header:
    """What a block's header states, as far as an auditor needs it.

    Attributes:
        parent: hash of the block before.
        transactions_root, receipts_root: of the tries over them.
        bloom: 256 bytes in which every log of the block has left its mark.
        number: of the block.
        gas_used: by all its transactions.
        timestamp: seconds since 1970, as its maker states them.
    """

    parent: bytes
    transactions_root: bytes
    receipts_root: bytes
    bloom: bytes
    number: int
    gas_used: int
    timestamp: int


@dataclass(frozen=True)
class Emitted:
    """A log entry with the 20-byte address of the contract that left it."""

    address: bytes
    log: Log


@dataclass(frozen=True)
class NodeReceipt:
    """What a node's chain holds of a transaction's outcome."""

    succeeded: bool
    emitted: tuple[Emitted, ...]


def decode_rlp(raw: bytes) -> Any:
    """Decode RLP, its nesting checked first: the decoder recurses.

    Raises:
        ValueError, RLPException: it is none, or nested deeper than any block is.
    """
    ends = [len(raw)]  # of the lists that the place is in
    place = 0
    while place < len(raw):
        while place >= ends[-1] and len(ends) > 1:
            ends.pop()
        first = raw[place]
        place += 1
        if first < 0x80:
            continue
        size = first - (0xC0 if first >= 0xC0 else 0x80)
        if size > _SHORT:
            width = size - _SHORT
            size = int.from_bytes(raw[place : place + width], "big")
            place += width
        if first < 0xC0:
            place += size
            continue
        ends.append(place + size)
        if len(ends) > _DEEPEST:
            raise ValueError(f"nested deeper than {_DEEPEST} levels")
    return rlp.decode(raw)


def header_bytes(answer: Answer) -> bytes:
    """RLP of a header, from a node's answer on a block."""
    present = []
    for name in _LATER:
        if answer.get(name.lstrip("#")) is None:
            break
        present.append(name)
    return bytes(rlp.encode([_field(answer, name) for name in (*_HEADER, *present)]))


def transaction_bytes(answer: Answer) -> bytes:
    """A signed transaction as it is hashed, from a node's answer.

    Raises:
        LedgerError: it is of a type that no Ethereum fork up to Prague has.
    """
    kind = _quantity(answer.get("type", "0x0"))
    if kind not in _TRANSACTION:
        raise LedgerError(f"a transaction of the unknown type {kind}")
    fields = [_field(answer, name) for name in _TRANSACTION[kind].split()]
    # Older nodes name the parity of typed transactions v.
    parity = answer.get("yParity", answer["v"]) if kind else answer["v"]
    fields += [_quantity(value) for value in (parity, answer["r"], answer["s"])]
    return _typed(kind, fields)


def receipt_bytes(answer: Answer) -> bytes:
    """A receipt as it is hashed, from a node's answer."""
    logs = [
        [_bytes(log["address"]), [_bytes(topic) for topic in log["topics"]], _bytes(log["data"])]
        for log in answer["logs"]
    ]
    fields = [
        _quantity(answer["status"]),
        _quantity(answer["cumulativeGasUsed"]),
        _bytes(answer["logsBloom"]),
        logs,
    ]
    return _typed(_quantity(answer.get("type", "0x0")), fields)


def read_header(raw: bytes) -> Header:
    """What a header states.

    Raises:
        LedgerError: it is not one.
    """
    try:
        fields = decode_rlp(raw)
        if not all(isinstance(field, bytes) for field in fields) or len(fields[6]) != 256:
            raise ValueError("its fields are not those of a header")
        return Header(
            parent=fields[0],
            transactions_root=fields[4],
            receipts_root=fields[5],
            bloom=fields[6],
            number=int.from_bytes(fields[8], "big"),
            gas_used=int.from_bytes(fields[10], "big"),
            timestamp=int.from_bytes(fields[11], "big"),
        )
    except _DECODING as error:
        raise LedgerError(f"is not a header ({error})") from error


def read_receipt(raw: bytes) -> NodeReceipt:
    """What a receipt states.

    Raises:
        LedgerError: it is not one, or is one of before the Byzantium fork.
    """
    try:
        _, body = _untyped(raw)
        status, _, _, logs = decode_rlp(body)
        if status not in (b"", b"\x01"):
            raise ValueError("it has no status")
        emitted = tuple(
            Emitted(address, Log(tuple(topics), data)) for address, topics, data in logs
        )
        return NodeReceipt(status == b"\x01", emitted)
    except _DECODING as error:
        raise LedgerError(f"is not a receipt ({error})") from error


def recipient(raw: bytes) -> bytes:
    """20-byte address that a transaction calls; empty if it creates a contract.

    Raises:
        LedgerError: it is not a transaction.
    """
    return _named(raw, "to")


def call_data(raw: bytes) -> bytes:
    """What a transaction hands to the contract.

    Raises:
        LedgerError: it is not a transaction.
    """
    return _named(raw, "input")


def check_affordable(raw: bytes, creation: bytes) -> None:
    """Refuse a transaction whose execution could take much longer than those of a run do.

    What it may call is code that is known: the contract's, which is the one that ships because
    what creates it begins with `creation`.

    Args:
        raw: the signed transaction.
        creation: code that creates the contract, without arguments.

    Raises:
        LedgerError: more gas than a block has, other code, or no transaction.
    """
    gas = int.from_bytes(_named(raw, "#gas"), "big")
    if gas > BLOCK_GAS:
        raise LedgerError(f"a transaction with {gas:,} gas; a block has {BLOCK_GAS:,}")
    if not recipient(raw) and not call_data(raw).startswith(creation):
        raise LedgerError("the contract created is not the one shipped with this package")


def calls(raw: bytes, address: bytes) -> bool:
    """Whether a transaction calls the contract at `address`, or creates it.

    Raises:
        LedgerError: it is not a transaction.
    """
    return (recipient(raw) or _created(raw)) == address


def contract_address(creator: bytes, nonce: int) -> bytes:
    """Address of the contract that `creator` makes with transaction number `nonce`."""
    return keccak(rlp.encode([creator, nonce]))[12:]


def _created(raw: bytes) -> bytes:
    """Address of the contract that a transaction creates; empty if its signature is none."""
    try:
        kind, body = _untyped(raw)
        *fields, parity, r, s = decode_rlp(body)
        number = int.from_bytes(parity, "big")
        if kind == 0 and number >= _WITH_CHAIN_ID:
            fields += [(number - _WITH_CHAIN_ID) // 2, 0, 0]
        odd = number if kind else (number + 1) % 2
        signature = Signature(r.rjust(32, b"\x00"), int.from_bytes(s, "big") | odd << 255)
        sender = recover(keccak(_typed(kind, fields)), signature)
        nonce = int.from_bytes(fields[_TRANSACTION[kind].split().index("#nonce")], "big")
    except (*_DECODING, AttributeError, OverflowError) as error:
        raise LedgerError(f"is not a transaction ({error})") from error
    return contract_address(sender, nonce) if sender else b""


def _named(raw: bytes, name: str) -> bytes:
    """One field of bytes of a transaction."""
    try:
        kind, body = _untyped(raw)
        value = decode_rlp(body)[_TRANSACTION[kind].split().index(name)]
        if not isinstance(value, bytes):
            raise ValueError(f"its field {name} is a list")
        return value
    except (*_DECODING, KeyError) as error:
        raise LedgerError(f"is not a transaction ({error})") from error


def trie_root(items: Sequence[bytes]) -> bytes:
    """Root of the Merkle-Patricia trie over a block's transactions or receipts."""
    trie = HexaryTrie({})
    for index, item in enumerate(items):
        trie[rlp.encode(index)] = item
    return bytes(trie.root_hash)


def may_hold(bloom: bytes, address: bytes) -> bool:
    """Whether a block with this bloom filter can hold a log of the contract at `address`.

    False is certain; True may be a coincidence.
    """
    digest = keccak(address)
    filled = int.from_bytes(bloom, "big")
    places = (int.from_bytes(digest[i : i + 2], "big") & 2047 for i in (0, 2, 4))
    return all(filled >> place & 1 for place in places)


def _typed(kind: int, fields: list[Any]) -> bytes:
    """RLP with the byte of its type in front, if it has one (EIP-2718)."""
    body = bytes(rlp.encode(fields))
    return bytes([kind]) + body if kind else body


def _untyped(raw: bytes) -> tuple[int, bytes]:
    """Inverse of the envelope: type and RLP."""
    return (0, raw) if raw[0] >= 0xC0 else (raw[0], raw[1:])


def _field(answer: Answer, name: str) -> Any:
    """One field of a node's answer, as RLP takes it."""
    if name.startswith("#"):
        return _quantity(answer[name[1:]])
    value = answer[name]
    if name == "accessList":
        return [
            [_bytes(entry["address"]), [_bytes(key) for key in entry["storageKeys"]]]
            for entry in value
        ]
    if name == "authorizationList":
        return [_authorization(entry) for entry in value]
    if name == "blobVersionedHashes":
        return [_bytes(entry) for entry in value]
    return _bytes(value or "0x")


def _authorization(entry: Answer) -> list[Any]:
    """One tuple of EIP-7702."""
    parity = entry.get("yParity", entry.get("v"))
    numbers = [_quantity(entry[name]) for name in ("chainId", "nonce")]
    return [
        numbers[0],
        _bytes(entry["address"]),
        numbers[1],
        *(_quantity(value) for value in (parity, entry["r"], entry["s"])),
    ]


def _quantity(value: Any) -> int:
    return int(value, 16)


def _bytes(text: str) -> bytes:
    return bytes.fromhex(text.removeprefix("0x"))
