"""A node's door: what it takes from hospitals, and whose shares open their commitments there."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from ledger.protocol.merkle import share_digest
from secure_fl.aggregation.pipeline import Pipeline, State
from secure_fl.errors import InputError, require
from secure_fl.nodes.memory import Memory
from secure_fl.nodes.shares import Delivery, ShareMessage, check
from secure_fl.types import AggregateResult

# Bits of uniform randomness that never come twice.
CERTAINLY_ONCE = 128


@dataclass(frozen=True)
class Checked:
    """What a node found when it opened commitments, before it heard of any other node's finding.

    Attributes:
        round: of the session.
        rows: shares that opened, int64 (d,) by hospital.
        refused: why the others did not, by hospital.
        claimed: whose shares opened, as the node says. An honest node says what it found.
        roots: the commitments, by hospital.
    """

    round: int
    rows: dict[int, np.ndarray]
    refused: dict[int, str]
    claimed: frozenset[int]
    roots: Mapping[int, bytes]

    def in_play(self, rulings: Iterable[int]) -> dict[int, np.ndarray]:
        """Rows of those that the node owns up to, or must by the contract's ruling."""
        held = self.claimed.union(rulings)
        return {hospital: row for hospital, row in self.rows.items() if hospital in held}


@dataclass
class NodeSession:
    """One rule's state at this node.

    Attributes:
        rule, hospitals, dim, states: the rule, its sizes and its state over the rounds.
        rank, nodes: this node's number, and how many there are.
        memory: the node's, of every share that it ever took.
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
    rank: int
    nodes: int
    memory: Memory
    inbox: dict[int, Delivery] = field(default_factory=dict)
    checked: Checked | None = None
    seen: int = 0
    result: tuple[int, frozenset[int], AggregateResult] | None = None
    signed: dict[int, tuple[str, str]] = field(default_factory=dict)

    def take(self, header: Mapping[str, Any], payload: bytearray) -> None:
        """Keep what a hospital delivered; it is looked at when all have."""
        hospital = header.get("hospital")
        if type(hospital) is int and 0 <= hospital < self.hospitals:
            self.inbox[hospital] = Delivery.read(header, payload)

    def opened(self, roots: Mapping[int, bytes]) -> tuple[dict[int, np.ndarray], dict[int, str]]:
        """Open roots with the shares in the inbox, which is empty afterwards.

        Only a share that this node never took before counts; it never takes it again.

        Returns:
            Shares that opened, int64 (d,) by hospital, and why the others did not.
        """
        rows: dict[int, np.ndarray] = {}
        refused: dict[int, str] = {}
        digests: dict[int, bytes] = {}
        for hospital, root in roots.items():
            if hospital not in self.inbox:
                refused[hospital] = f"node {self.rank} has no share"
                continue
            message = self.inbox[hospital].message
            try:
                rows[hospital] = check(
                    message, root, self.rank, self.nodes, self.rule.bits, self.dim
                )
                digests[hospital] = self._name(message)
            except (InputError, ValueError) as error:
                refused[hospital] = f"node {self.rank}: {error}"
        self.inbox.clear()
        fresh = self.memory.take(set(digests.values()))
        for hospital, digest in digests.items():
            if digest in fresh:
                fresh.remove(digest)  # the same share from two hospitals counts for one
            else:
                del rows[hospital]
                refused[hospital] = f"node {self.rank} took this share before"
        return rows, refused

    def _name(self, message: ShareMessage) -> bytes:
        """What the node remembers a share by, for ever and in all sessions, 32 bytes.

        The share alone, so that no other salt makes it another one. A share of few bits may come
        again by chance, from another hospital or in a later round: its salt then counts too.
        """
        if self.rule.bits * self.dim < CERTAINLY_ONCE:
            return share_digest(message.salt, message.share)
        return hashlib.sha256(b"share" + message.share).digest()

    def open_commitments(self, number: int, roots: Mapping[int, bytes]) -> Checked:
        """Open the commitments of a round, on the coordinator's word for them.

        Raises:
            InputError: the round was checked before.
        """
        self.begin(number)
        rows, refused = self.opened(roots)
        self.checked = Checked(number, rows, refused, frozenset(rows), roots)
        return self.checked

    def begin(self, number: int) -> None:
        """Enter a round.

        Raises:
            InputError: it was entered before.
        """
        require(number > self.seen, "round", f"above {self.seen}, the last one combined", number)
        self.seen = number

    def waiting(self, number: int) -> Checked:
        """Take out the shares that were checked for a round, for the one time they are used.

        Raises:
            InputError: none were, or they are used already.
        """
        checked, self.checked = self.checked, None
        if checked is None or checked.round != number:
            raise InputError(f"round {number} must have its shares checked before, and used once")
        return checked
