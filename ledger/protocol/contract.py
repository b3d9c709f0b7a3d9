"""The contract's calls and events as bytes, after the committed ABI."""

from dataclasses import dataclass
from functools import cache
from typing import Any

from eth_abi import decode, encode
from eth_abi.exceptions import DecodingError

from ledger.errors import LedgerError
from ledger.members.keys import keccak
from ledger.protocol import artifacts

_ERROR_SELECTOR = keccak(b"Error(string)")[:4]


@dataclass(frozen=True)
class Entry:
    """One function or event of the ABI.

    Attributes:
        name: its name.
        selector: 4 bytes of a function, 32 bytes of an event.
        inputs: names and types of its arguments.
        indexed: for an event, which arguments are topics.
        outputs: types of a function's results.
    """

    name: str
    selector: bytes
    inputs: tuple[tuple[str, str], ...]
    indexed: tuple[bool, ...] = ()
    outputs: tuple[str, ...] = ()


@dataclass(frozen=True)
class Log:
    """An entry of a receipt's log: topics and data as bytes."""

    topics: tuple[bytes, ...]
    data: bytes


@dataclass(frozen=True)
class Event:
    """A decoded log entry."""

    name: str
    args: dict[str, Any]


def _type(argument: dict[str, Any]) -> str:
    """Canonical type, structs spelt out."""
    kind: str = argument["type"]
    if not kind.startswith("tuple"):
        return kind
    inner = ",".join(_type(component) for component in argument["components"])
    return f"({inner}){kind.removeprefix('tuple')}"


@cache
def functions() -> dict[str, Entry]:
    """Functions by name; the constructor is ``__init__``."""
    return {entry.name: entry for kind, entry in _entries() if kind != "event"}


@cache
def functions_by_selector() -> dict[bytes, Entry]:
    """Functions by the first four bytes of a call."""
    return {entry.selector: entry for entry in functions().values() if entry.selector}


@cache
def events() -> dict[bytes, Entry]:
    """Events by topic."""
    return {entry.selector: entry for kind, entry in _entries() if kind == "event"}


@cache
def _entries() -> list[tuple[str, Entry]]:
    entries = []
    for item in artifacts.load()["abi"]:
        inputs = tuple((argument["name"], _type(argument)) for argument in item["inputs"])
        name = item.get("name", "__init__")
        digest = keccak(f"{name}({','.join(kind for _, kind in inputs)})".encode())
        entry = Entry(
            name=name,
            selector={"event": digest, "function": digest[:4]}.get(item["type"], b""),
            inputs=inputs,
            indexed=tuple(argument.get("indexed", False) for argument in item["inputs"]),
            outputs=tuple(_type(output) for output in item.get("outputs", ())),
        )
        entries.append((item["type"], entry))
    return entries


def encode_call(name: str, *args: Any) -> bytes:
    """Data of a call; addresses are 20 bytes, structs are tuples."""
    entry = functions()[name]
    return entry.selector + encode([kind for _, kind in entry.inputs], args)


def encode_creation(*args: Any) -> bytes:
    """Data of the transaction that creates the contract."""
    kinds = [kind for _, kind in functions()["__init__"].inputs]
    return artifacts.bytecode() + encode(kinds, args)


def decode_call(data: bytes) -> tuple[str, dict[str, Any]]:
    """Name and arguments of a call."""
    entry = functions_by_selector().get(data[:4])
    if entry is None:
        raise LedgerError(f"no function of the contract has selector 0x{data[:4].hex()}")
    return entry.name, _named(entry.inputs, data[4:])


def decode_creation(data: bytes) -> dict[str, Any]:
    """Constructor arguments of the transaction that created the contract."""
    code = artifacts.bytecode()
    if not data.startswith(code):
        raise LedgerError("the contract created is not the one shipped with this package")
    return _named(functions()["__init__"].inputs, data[len(code) :])


def decode_output(name: str, data: bytes) -> tuple[Any, ...]:
    """Results of a call."""
    return tuple(decode(functions()[name].outputs, data))


def decode_event(log: Log) -> Event:
    """Name and arguments of a log entry."""
    entry = events()[log.topics[0]]
    pairs = list(zip(entry.inputs, entry.indexed, strict=True))
    args = _named([pair for pair, indexed in pairs if not indexed], log.data)
    topics = iter(log.topics[1:])
    for (name, kind), indexed in pairs:
        if indexed:
            (args[name],) = decode([kind], next(topics))
    return Event(entry.name, args)


def revert_reason(output: bytes) -> str:
    """The contract's words from the output of a reverted call."""
    if output[:4] != _ERROR_SELECTOR:
        return "no reason given (out of gas, or malformed arguments)"
    try:
        (reason,) = decode(["string"], output[4:])
    except DecodingError:
        return "unreadable reason"
    return str(reason)


def _named(inputs: Any, data: bytes) -> dict[str, Any]:
    try:
        values = decode([kind for _, kind in inputs], data)
    except DecodingError as error:
        raise LedgerError(f"malformed arguments: {error}") from error
    return {name: _raw(value, kind) for (name, kind), value in zip(inputs, values, strict=True)}


def _raw(value: Any, kind: str) -> Any:
    """Addresses as 20 bytes instead of text."""
    if kind == "address":
        return bytes.fromhex(value[2:])
    if kind == "address[]":
        return [bytes.fromhex(item[2:]) for item in value]
    return value
