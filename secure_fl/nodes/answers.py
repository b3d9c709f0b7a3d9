"""What a node answers, as types: the node writes them, the coordinator reads them.

A node may be malicious, so the coordinator reads an answer only after `check` held its header to
the schema of its kind: a field that is unknown, missing or mistyped is refused by name, and a
payload of another length than the header says is not held. `write` gives header and payload,
`read` is its inverse.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np

from secure_fl.errors import require
from secure_fl.fields import Rule, hold, whole
from secure_fl.nodes.combined import Asked, Combined, reasons_read, reasons_written
from secure_fl.nodes.commands import Written
from secure_fl.nodes.fields import AMOUNT, HASH, SIGNATURE, TEXT, by_hospital, distinct, listed

QUESTION = "question"
"""The field that `secure_fl.backends.questions` adds to every answer."""


class Done(NamedTuple):
    """The node did as it was told: it opened or closed a session."""

    cpu_ms: float = 0.0

    def write(self) -> Written:
        """Header and payload."""
        return self._asdict(), b""

    @classmethod
    def rules(cls, asked: Asked) -> dict[str, Rule]:
        """What each field must be."""
        return {"cpu_ms": AMOUNT}

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> Done:
        """From header and payload."""
        return cls(header["cpu_ms"])


class Receipts(NamedTuple):
    """Receipts of 64 bytes, by hospital, for shares that came in."""

    receipts: Mapping[int, bytes]
    cpu_ms: float = 0.0

    def write(self) -> Written:
        """Header and payload."""
        said = {str(hospital): receipt.hex() for hospital, receipt in self.receipts.items()}
        return {"receipts": said, "cpu_ms": self.cpu_ms}, b""

    @classmethod
    def rules(cls, asked: Asked) -> dict[str, Rule]:
        """What each field must be."""
        return {"receipts": by_hospital(asked.hospitals, SIGNATURE), "cpu_ms": AMOUNT}

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> Receipts:
        """From header and payload."""
        said = header["receipts"].items()
        return cls({int(h): bytes.fromhex(text) for h, text in said}, header["cpu_ms"])


class Evidence(NamedTuple):
    """A share delivered under another root than its hospital committed to.

    Attributes:
        hospital: whose.
        digest: of the share, 32 bytes.
        root: that it opens, 32 bytes.
        delivery: the hospital's signature on both, 64 bytes.
    """

    hospital: int
    digest: bytes
    root: bytes
    delivery: bytes

    def write(self) -> dict[str, Any]:
        """As it stands in an answer."""
        parts = {"digest": self.digest, "root": self.root, "delivery": self.delivery}
        return {"hospital": self.hospital} | {name: part.hex() for name, part in parts.items()}

    @classmethod
    def read(cls, said: Mapping[str, Any]) -> Evidence:
        """From what stands in an answer."""
        parts = (bytes.fromhex(said[name]) for name in ("digest", "root", "delivery"))
        return cls(said["hospital"], *parts)


class Statement(NamedTuple):
    """Whose shares opened, signed, and what proves that others were delivered wrongly.

    Attributes:
        opened: hospitals, ascending.
        signature: of the node, 64 bytes.
        wrong_shares: evidence.
        refused: why a share was not taken, by hospital.
        cpu_ms: CPU milliseconds spent on it.
    """

    opened: Sequence[int]
    signature: bytes
    wrong_shares: Sequence[Evidence]
    refused: Mapping[int, str]
    cpu_ms: float = 0.0

    def write(self) -> Written:
        """Header and payload."""
        return {
            "opened": list(self.opened),
            "signature": self.signature.hex(),
            "wrong_shares": [piece.write() for piece in self.wrong_shares],
            "refused": reasons_written(self.refused),
            "cpu_ms": self.cpu_ms,
        }, b""

    @classmethod
    def rules(cls, asked: Asked) -> dict[str, Rule]:
        """What each field must be."""
        hospital = whole(0, asked.hospitals - 1)
        evidence = {"hospital": hospital, "digest": HASH, "root": HASH, "delivery": SIGNATURE}
        return {
            "opened": distinct(asked.hospitals),
            "signature": SIGNATURE,
            "wrong_shares": listed(asked.hospitals, evidence),
            "refused": by_hospital(asked.hospitals, TEXT),
            "cpu_ms": AMOUNT,
        }

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> Statement:
        """From header and payload."""
        return cls(
            tuple(header["opened"]),
            bytes.fromhex(header["signature"]),
            tuple(map(Evidence.read, header["wrong_shares"])),
            reasons_read(header["refused"]),
            header["cpu_ms"],
        )


class ResultSigned(NamedTuple):
    """The node's signature on a round's result, 64 bytes."""

    signature: bytes
    cpu_ms: float = 0.0

    def write(self) -> Written:
        """Header and payload."""
        return {"signature": self.signature.hex(), "cpu_ms": self.cpu_ms}, b""

    @classmethod
    def rules(cls, asked: Asked) -> dict[str, Rule]:
        """What each field must be."""
        return {"signature": SIGNATURE, "cpu_ms": AMOUNT}

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> ResultSigned:
        """From header and payload."""
        return cls(bytes.fromhex(header["signature"]), header["cpu_ms"])


class RecordsSigned(NamedTuple):
    """The node's signatures on a run's last entry, 64 bytes each.

    Attributes:
        opened: that no share opened in it.
        result: on the hash of the records, and the final model.
        cpu_ms: CPU milliseconds spent on it.
    """

    opened: bytes
    result: bytes
    cpu_ms: float = 0.0

    def write(self) -> Written:
        """Header and payload."""
        said = {"opened": self.opened.hex(), "result": self.result.hex(), "cpu_ms": self.cpu_ms}
        return said, b""

    @classmethod
    def rules(cls, asked: Asked) -> dict[str, Rule]:
        """What each field must be."""
        return {"opened": SIGNATURE, "result": SIGNATURE, "cpu_ms": AMOUNT}

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> RecordsSigned:
        """From header and payload."""
        opened, result = (bytes.fromhex(header[name]) for name in ("opened", "result"))
        return cls(opened, result, header["cpu_ms"])


class Failed(NamedTuple):
    """Why there is no answer.

    Attributes:
        error: name of the error's class.
        message: what is wrong.
    """

    error: str
    message: str

    def write(self) -> Written:
        """Header and payload."""
        return self._asdict(), b""

    @classmethod
    def read(cls, header: Mapping[str, Any]) -> Failed:
        """From a header that holds `error`.

        Raises:
            InputError: it is not of this form.
        """
        check_fields("Failed", header, {"error": TEXT, "message": TEXT})
        return cls(header["error"], header["message"])


Answer = Done | Receipts | Statement | ResultSigned | RecordsSigned | Combined
A = TypeVar("A", Done, Receipts, Statement, ResultSigned, RecordsSigned, Combined)


def check(kind: type[Answer], asked: Asked, header: Mapping[str, Any], size: int) -> None:
    """Hold an answer to its kind, before its payload is read.

    Args:
        kind: which one the question has.
        asked: the session.
        header: as it came.
        size: bytes of payload that follow.

    Raises:
        InputError: naming the field, the rule and the value, or the payload's length.
    """
    check_fields(kind.__name__, header, kind.rules(asked))
    layout = header["values"] if kind is Combined else []
    length = sum(np.dtype(dtype).itemsize * math.prod(shape) for _, shape, dtype in layout)
    require(size == length, f"payload of the answer {kind.__name__}", f"{length} bytes", size)


def check_fields(kind: str, header: Mapping[str, Any], rules: Mapping[str, Rule]) -> None:
    """Hold a header to exactly these fields, and the number of its question.

    Raises:
        InputError: naming the field.
    """
    hold(f"an answer {kind}", header, rules, also=QUESTION)
