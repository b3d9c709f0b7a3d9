"""What a node reads from its control channel: checked before it is used, bounded before it is held.

Whoever sends nonsense gets an answer that says so; the node goes on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from secure_fl.counts import MOST_HOSPITALS
from secure_fl.errors import InputError, require
from secure_fl.fields import Rule, Short, whole
from secure_fl.mpc.transport import Channel, UnreadableHeader
from secure_fl.nodes.fields import (
    HASH,
    MOST_DIM,
    MOST_ROUND,
    MOST_SESSION,
    MOST_WORDS,
    RULE,
    TIES,
    VECTOR_NAMES,
    numbers,
    places,
    roots,
)
from secure_fl.nodes.inbox import NodeSession
from secure_fl.nodes.shares import SALT_BYTES

# Records of a long run, whose hash a node signs.
MOST_RECORDS = 1 << 28
_WORD = 8

Value = TypeVar("Value")


class Message(dict[str, Any]):
    """A message's header; a part that it lacks is an `InputError`, not a `KeyError`."""

    def __missing__(self, part: str) -> Any:
        raise InputError(f"a message {self.get('do')!r} must have {part!r}")


class Open(dict[int, Value]):
    """What a node holds for each session; one that is not open is an `InputError`."""

    def __missing__(self, session: object) -> Value:
        raise InputError(f"session must be one that is open here for this; got {session!r}")


def receive(control: Channel, sessions: Mapping[int, NodeSession]) -> tuple[Message, bytearray]:
    """Receive the next message, all of whose fields are what they must be.

    Its payload is held only if it is as long as it may be.

    Raises:
        NodeFailure: the coordinator is gone, or what it sends are no frames.
        Refused: the header is no JSON object, names no command or no session, a field breaks its
            rule, or the payload has another length. The message is read to its end, so that the
            next one can follow; `question` tells which it was.
    """
    try:
        header, size = control.receive_header()
    except UnreadableHeader as error:
        control.discard(error.payload)
        raise Refused(Message(), str(error)) from error
    message = Message(header)
    try:
        _check(message, size, sessions)
    except InputError as error:
        control.discard(size)
        raise Refused(message, str(error)) from error
    payload = bytearray(size)
    control.receive_into(payload)
    return message, payload


class Refused(InputError):
    """A message that was read and not taken.

    Attributes:
        message: its header.
    """

    def __init__(self, message: Message, why: str) -> None:
        super().__init__(why)
        self.message = message


# Fields of each command, checked in this order; with None for the session: none must be open. What
# a hospital says in a share proves nothing unless it fits (`secure_fl.nodes.shares.Delivery.read`).
_ROUND = whole(1, MOST_ROUND)
_ALONE: dict[str, dict[str, Rule]] = {
    "stop": {},
    "close": {},
    "open": {
        "rule": RULE,
        "session": whole(0, MOST_SESSION),
        "hospitals": whole(1, MOST_HOSPITALS),
        "dim": whole(1, MOST_DIM),
        "ties": TIES,
    },
}
_IN_SESSION: dict[str, Callable[[NodeSession], dict[str, Rule]]] = {
    "share": lambda session: {},
    "receipts": lambda session: {"round": _ROUND},
    "check": lambda session: {
        "round": _ROUND,
        "roots": roots(session.hospitals),
        "posted_root": HASH,
    },
    "aggregate": lambda session: {
        "round": _ROUND,
        "roots": roots(session.hospitals),
        "reputation": numbers(session.hospitals, 1.0),
        "samples": numbers(session.hospitals),
        "ruled": places(session.hospitals, session.nodes),
        "vectors": VECTOR_NAMES,
    },
    "sign": lambda session: {"round": _ROUND, "result": HASH, "candidate": HASH},
}
COMMANDS = (*_ALONE, *_IN_SESSION)


def _check(message: Message, size: int, sessions: Mapping[int, NodeSession]) -> None:
    """Hold a message to its command's rules; `question`, which is only repeated, may be anything.

    Args:
        size: bytes of payload that follow the header.

    Raises:
        InputError: naming the field, the rule and the value.
    """
    command = message["do"]
    require(isinstance(command, str), "do", "a command", Short(command))
    require(command in COMMANDS, "command", f"one of {', '.join(COMMANDS)}", Short(command))
    if command != "stop":
        number = message["session"]
        require(type(number) is int, "session", "a number", Short(number))
    _check_size(message, size, sessions)
    alone = command in _ALONE
    rules = _ALONE[command] if alone else _IN_SESSION[command](sessions[message["session"]])
    for name, rule in rules.items():
        if not _left_out(message, name, size):
            rule.check(name, message[name])
    if command == "open":
        words = message["hospitals"] * message["dim"]
        require(words <= MOST_WORDS, "hospitals * dim", f"at most {MOST_WORDS}", words)


def _left_out(message: Message, name: str, size: int) -> bool:
    """Whether a message lacks a field that it may lack: roots that were checked before the
    aggregation, the result where records are signed."""
    optional = {"aggregate": "roots", "sign": "result" if size else None}
    return name not in message and optional.get(message["do"]) == name


def _check_size(message: Message, size: int, sessions: Mapping[int, NodeSession]) -> None:
    """Hold a payload to its length: a share, public vectors or records; nothing else has any.

    A share may be shorter than it must be: its hospital is refused, not the message.
    """
    command, limit = message["do"], 0
    if command == "share":
        limit = _WORD * sessions[message["session"]].dim + SALT_BYTES
    elif command == "aggregate":
        session = sessions[message["session"]]
        VECTOR_NAMES.check("vectors", message["vectors"])
        limit = _WORD * session.dim * len(message["vectors"])
    elif command == "sign":
        limit = MOST_RECORDS
    if command == "aggregate":
        require(size == limit, "payload of 'aggregate'", f"{limit} bytes", size)
    require(size <= limit, f"payload of {command!r}", f"at most {limit} bytes", size)
