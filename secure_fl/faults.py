"""Cheating in the protocol, injected into a run: who breaks it, when, and over which share.

An attack (`attacks/`) changes what a hospital sends within the protocol. A fault breaks the
protocol itself, and the contract finds out who did. Faults are executed where they would be: the
hospital's side really sends another share, the node's process really denies, told so at its start.
They need nodes that sign what they attest: runs with a ledger and the mpc backend.

    faults: [{round: 2, kind: wrong_share, hospital: 3, node: 1}]
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import Any

from secure_fl.checks import check, check_name
from secure_fl.errors import ConfigError

# Each kind with whom the contract must find at fault, or "" where no evidence can exist.
WRONG_SHARE = "wrong_share"
USELESS_PROOF = "useless_proof"
SHORT_SHARE = "short_share"
WITHHELD_SHARE = "withheld_share"
UNSIGNED_SHARE = "unsigned_share"
DENIAL = "denial"
DENIAL_WITHOUT_RECEIPT = "denial_without_receipt"
HOSPITAL_KINDS = (WRONG_SHARE, USELESS_PROOF, SHORT_SHARE, WITHHELD_SHARE, UNSIGNED_SHARE)
NODE_KINDS = (DENIAL, DENIAL_WITHOUT_RECEIPT)
AT_FAULT = {
    WRONG_SHARE: "hospital",
    USELESS_PROOF: "",
    SHORT_SHARE: "",
    WITHHELD_SHARE: "",
    UNSIGNED_SHARE: "",
    DENIAL: "node",
    DENIAL_WITHOUT_RECEIPT: "",
}


@dataclass(frozen=True)
class Fault:
    """One share of one round, and how somebody cheats over it.

    Attributes:
        round: the round, 1, 2, ...
        hospital: whose share; it does not happen if the hospital is absent or suspended then.
        node: the node that the share is for.
        kind: by the hospital: `wrong_share` (sends another than it committed to, under a root of
            its own), `useless_proof` (its proof does not lead from the share to the root),
            `short_share` (commits to a share of wrong length and sends that), `withheld_share`
            (sends none), `unsigned_share` (does not sign what it sends);
            by the node: `denial` (says that a share did not open for which it gave a receipt),
            `denial_without_receipt`.
    """

    round: int
    hospital: int
    kind: str
    node: int = 0

    def __post_init__(self) -> None:
        check_name("faults: kind", self.kind, (*HOSPITAL_KINDS, *NODE_KINDS))
        for key, least in (("round", 1), ("hospital", 0), ("node", 0)):
            value = getattr(self, key)
            whole = isinstance(value, int) and not isinstance(value, bool)
            check(whole and value >= least, f"faults: {key}", f"a number from {least}", value)


def build_faults(entries: Sequence[Any]) -> list[Fault]:
    """Turn a setting's list of mappings into faults.

    Raises:
        ConfigError: an entry is no mapping, a key is unknown or missing, a value is out of range,
            or two faults concern the same share.
    """
    built = [entry if isinstance(entry, Fault) else _build(entry) for entry in entries]
    places = [(fault.round, fault.hospital, fault.node) for fault in built]
    for place in places:
        if places.count(place) > 1:
            number, hospital, node = place
            raise ConfigError(
                f"faults must have one entry a share; round {number}, hospital {hospital}, "
                f"node {node} has {places.count(place)}"
            )
    return built


def _build(entry: Any) -> Fault:
    names = [field.name for field in fields(Fault)]
    if not isinstance(entry, Mapping):
        raise ConfigError(f"faults must be a list of mappings with {', '.join(names)}; got {entry}")
    for key in entry:
        check_name("faults: key", str(key), names)
    for key in ("round", "hospital", "kind"):
        check(key in entry, "faults: every entry", f"one with {key}", dict(entry))
    return Fault(**entry)


def check_places(faults: Sequence[Fault], rounds: int, hospitals: int, nodes: int) -> None:
    """Refuse faults that no round of a run would see.

    Raises:
        ConfigError: a round, hospital or node that the run does not have.
    """
    for fault in faults:
        for key, value, last in (
            ("round", fault.round, rounds),
            ("hospital", fault.hospital, hospitals - 1),
            ("node", fault.node, nodes - 1),
        ):
            check(value <= last, f"faults: {key}", f"at most {last} in this run", value)
