"""A node's door: what it takes from hospitals, and whose shares open their commitments there."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from secure_fl.aggregation.pipeline import Pipeline, State
from secure_fl.errors import InputError, require
from secure_fl.mpc.sharing import SALT_BYTES, ShareMessage, check
from secure_fl.types import AggregateResult


@dataclass(frozen=True)
class Parcel:
    """What a hospital delivered: its share, and where members sign, what proves the delivery.

    Attributes:
        message: salt, share and Merkle proof.
        leaf: digest of this share that the hospital says it committed to.
        delivery: its signature on the digest of what it delivered, 64 bytes.
    """

    message: ShareMessage
    leaf: bytes = b""
    delivery: bytes = b""


@dataclass(frozen=True)
class Checked:
    """What a node found when it opened commitments, before it heard of any other node's finding.

    Attributes:
        round: of the session.
        rows: shares that opened, int64 (d,) by hospital.
        refused: why the others did not, by hospital.
        claimed: whose shares opened, as the node says. An honest node says what it found.
    """

    round: int
    rows: dict[int, np.ndarray]
    refused: dict[int, str]
    claimed: frozenset[int]

    def in_play(self, rulings: Iterable[int]) -> dict[int, np.ndarray]:
        """Rows of those that the node owns up to, or must by the contract's ruling."""
        held = self.claimed.union(rulings)
        return {hospital: row for hospital, row in self.rows.items() if hospital in held}


@dataclass
class NodeSession:
    """One rule's state at this node.

    Attributes:
        rule, hospitals, dim, states: the rule, its sizes and its state over the rounds.
        inbox: what hospitals delivered since the last check.
        checked: shares that wait for the aggregation; they are used once, then gone.
        seen: the last round whose shares were checked: no round is checked, and so none
            combined, twice.
        result: of the last aggregation, as this node opened it, with who was in play.
        signed: hashes of result and candidate that this node signed, by round.
    """

    rule: Pipeline
    hospitals: int
    dim: int
    states: tuple[State, ...]
    inbox: dict[int, Parcel] = field(default_factory=dict)
    checked: Checked | None = None
    seen: int = 0
    result: tuple[int, frozenset[int], AggregateResult] | None = None
    signed: dict[int, tuple[str, str]] = field(default_factory=dict)

    def take(self, header: Mapping[str, Any], payload: bytearray) -> None:
        """Keep what a hospital delivered; it is looked at when the commitments are known."""
        salt, share = bytes(payload[:SALT_BYTES]), bytes(payload[SALT_BYTES:])
        proof = [bytes.fromhex(part) for part in header["proof"]]
        self.inbox[int(header["hospital"])] = Parcel(
            ShareMessage(salt, share, proof),
            bytes.fromhex(header.get("leaf", "")),
            bytes.fromhex(header.get("delivery", "")),
        )

    def open_commitments(self, number: int, roots: Mapping[int, bytes], rank: int) -> Checked:
        """Open the commitments of a round with the shares in the inbox, which is empty afterwards.

        Raises:
            InputError: the round was checked before.
        """
        require(number > self.seen, "round", f"above {self.seen}, the last one combined", number)
        self.seen = number
        rows: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        for hospital, root in roots.items():
            if hospital not in self.inbox:
                refused[hospital] = f"node {rank} has no share"
                continue
            message = self.inbox[hospital].message
            try:
                rows[hospital] = check(message, root, rank, self.rule.bits, self.dim)
            except (InputError, ValueError) as error:
                refused[hospital] = f"node {rank}: {error}"
        self.inbox.clear()
        self.checked = Checked(number, rows, refused, frozenset(rows))
        return self.checked

    def waiting(self, number: int) -> Checked:
        """Take out the shares that were checked for a round, for the one time they are used.

        Raises:
            InputError: none were, or they are used already.
        """
        checked, self.checked = self.checked, None
        if checked is None or checked.round != number:
            raise InputError(f"round {number} must have its shares checked before, and used once")
        return checked
