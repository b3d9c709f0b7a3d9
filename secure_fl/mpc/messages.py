"""What a node reads from its control channel: checked before it is used, bounded before it is held.

Whoever sends nonsense gets an answer that says so; the node goes on.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from secure_fl.errors import InputError, require
from secure_fl.mpc.door import NodeSession
from secure_fl.mpc.sharing import SALT_BYTES
from secure_fl.mpc.transport import Channel

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
    """Receive the next message, whose payload is held only if it is as long as it may be.

    Raises:
        NodeFailure: the coordinator is gone, or what it sends are no frames.
        InputError: the message names no command, no session, or is too long. It is read to its
            end, so that the next one can follow; `question` tells which it was.
    """
    header, size = control.receive_header()
    message = Message(header)
    try:
        limit = _limit(message, sessions)
        require(size <= limit, f"payload of {message['do']!r}", f"at most {limit} bytes", size)
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


def _limit(message: Message, sessions: Mapping[int, NodeSession]) -> int:
    """Most bytes of payload: a share, a public direction or records; nothing else has any."""
    command = message["do"]
    require(isinstance(command, str), "do", "a command", command)
    if command == "stop":
        return 0
    number = message["session"]
    known = isinstance(number, int) and not isinstance(number, bool)
    require(known, "session", "a number", number)
    if command in ("share", "aggregate"):
        session = sessions[number]
        return _WORD * session.dim + (SALT_BYTES if command == "share" else 0)
    return MOST_RECORDS if command == "sign" else 0
