"""What a node is told, as types: the coordinator writes them, the node reads them.

`write` gives the JSON object and the bytes of a message, `read` is its inverse. A node reads one
only after `secure_fl.nodes.messages.receive` held every field to its rule. What a hospital sends is
one more (`secure_fl.nodes.shares.Delivery`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from secure_fl.errors import require
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.fields import VECTORS

# Header and payload of a message.
Written = tuple[dict[str, Any], bytes]


class OpenSession(NamedTuple):
    """Begin a session of a rule.

    Attributes:
        session: its number.
        rule: as data (`Pipeline.to_config`).
        hospitals: how many there are.
        dim: coordinates of an update.
        contract: that hospitals and nodes sign for, or None.
    """

    session: int
    rule: Mapping[str, Any]
    hospitals: int
    dim: int
    contract: Contract | None

    def write(self) -> Written:
        """Header and payload."""
        contract = None if self.contract is None else self.contract.to_json()
        return {
            "do": "open",
            "session": self.session,
            "rule": self.rule,
            "hospitals": self.hospitals,
            "dim": self.dim,
            "ties": contract,
        }, b""

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> OpenSession:
        """From header and payload."""
        ties = header["ties"]
        return cls(
            header["session"],
            header["rule"],
            header["hospitals"],
            header["dim"],
            None if ties is None else Contract.from_json(ties),
        )


class CloseSession(NamedTuple):
    """Forget a session's state."""

    session: int

    def write(self) -> Written:
        """Header and payload."""
        return {"do": "close", "session": self.session}, b""

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> CloseSession:
        """From header and payload."""
        return cls(header["session"])


class GiveReceipts(NamedTuple):
    """Sign for the shares that came in for a round."""

    session: int
    round: int

    def write(self) -> Written:
        """Header and payload."""
        return {"do": "receipts", "session": self.session, "round": self.round}, b""

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> GiveReceipts:
        """From header and payload."""
        return cls(header["session"], header["round"])


class CheckShares(NamedTuple):
    """Say, signed, whose shares opened.

    Attributes:
        session, round: of which.
        roots: commitments by hospital.
        posted_root: over them where the chain holds one, else zero; 32 bytes.
    """

    session: int
    round: int
    roots: Mapping[int, bytes]
    posted_root: bytes

    def write(self) -> Written:
        """Header and payload."""
        return {
            "do": "check",
            "session": self.session,
            "round": self.round,
            "roots": _written(self.roots),
            "posted_root": self.posted_root.hex(),
        }, b""

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> CheckShares:
        """From header and payload."""
        return cls(
            header["session"],
            header["round"],
            _read(header["roots"]),
            bytes.fromhex(header["posted_root"]),
        )


class Aggregate(NamedTuple):
    """Combine a round's shares, once.

    Attributes:
        session, round: of which.
        reputation: of each hospital, in [0, 1].
        samples: rows that each hospital counts for.
        ruled: (hospital, node) of shares that count by a ruling against the node.
        roots: commitments by hospital; None where shares were checked before.
        reference: float64 (d,), the public direction, or None.
        model: float64 (d,), the public global model, or None.
    """

    session: int
    round: int
    reputation: Sequence[float]
    samples: Sequence[float]
    ruled: Sequence[tuple[int, int]] = ()
    roots: Mapping[int, bytes] | None = None
    reference: np.ndarray | None = None
    model: np.ndarray | None = None

    def write(self) -> Written:
        """Header and payload."""
        header: dict[str, Any] = {
            "do": "aggregate",
            "session": self.session,
            "round": self.round,
            "reputation": list(self.reputation),
            "samples": list(self.samples),
            "ruled": [list(place) for place in self.ruled],
        }
        if self.roots is not None:
            header["roots"] = _written(self.roots)
        given = {name: getattr(self, name) for name in VECTORS}
        parts = {name: vector for name, vector in given.items() if vector is not None}
        header["vectors"] = list(parts)
        return header, b"".join(vector.astype("<f8").tobytes() for vector in parts.values())

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> Aggregate:
        """From header and payload.

        Raises:
            InputError: a coordinate of a vector is not finite.
        """
        vectors = _vectors(header["vectors"], payload)
        return cls(
            header["session"],
            header["round"],
            header["reputation"],
            header["samples"],
            [(hospital, node) for hospital, node in header["ruled"]],
            _read(header["roots"]) if "roots" in header else None,
            vectors.get("reference"),
            vectors.get("model"),
        )


class SignResult(NamedTuple):
    """Sign a round's result, and the model made from it.

    Attributes:
        session, round: of which.
        result, candidate: hashes, 64 hexadecimal digits.
    """

    session: int
    round: int
    result: str
    candidate: str

    def write(self) -> Written:
        """Header and payload."""
        return {"do": "sign", **self._asdict()}, b""

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> SignResult:
        """From header and payload."""
        return cls(header["session"], header["round"], header["result"], header["candidate"])


class SignRecords(NamedTuple):
    """Sign a run's last entry, over the records of all its rounds.

    Attributes:
        session: which.
        round: number of the entry.
        candidate: hash of the final model, 64 hexadecimal digits.
        records: canonical JSON, not empty.
    """

    session: int
    round: int
    candidate: str
    records: bytes

    def write(self) -> Written:
        """Header and payload."""
        header = {"session": self.session, "round": self.round, "candidate": self.candidate}
        return {"do": "sign", **header}, self.records

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> SignRecords:
        """From header and payload."""
        return cls(header["session"], header["round"], header["candidate"], bytes(payload))


Command = (
    OpenSession | CloseSession | GiveReceipts | CheckShares | Aggregate | SignResult | SignRecords
)
_TYPES: dict[str, type[Command]] = {
    "open": OpenSession,
    "close": CloseSession,
    "receipts": GiveReceipts,
    "check": CheckShares,
    "aggregate": Aggregate,
}


def read_command(header: Mapping[str, Any], payload: bytes | bytearray) -> Command:
    """The command of a message that is answered.

    Args:
        header: with every field as `secure_fl.nodes.messages` wants it.
        payload: that came with it.

    Raises:
        InputError: see `Aggregate.read`.
    """
    if header["do"] == "sign":
        return (SignRecords if payload else SignResult).read(header, payload)
    return _TYPES[header["do"]].read(header, payload)


def _written(roots: Mapping[int, bytes]) -> dict[str, str]:
    return {str(hospital): root.hex() for hospital, root in sorted(roots.items())}


def _read(roots: Mapping[str, str]) -> dict[int, bytes]:
    return {int(hospital): bytes.fromhex(root) for hospital, root in roots.items()}


def _vectors(names: Sequence[str], payload: bytes | bytearray) -> dict[str, np.ndarray]:
    if not names:
        return {}
    values = np.frombuffer(payload, "<f8").copy()
    good = bool(np.isfinite(values).all())
    require(good, "payload of 'aggregate'", "finite numbers", "NaN or infinity")
    return dict(zip(names, values.reshape(len(names), -1), strict=True))
