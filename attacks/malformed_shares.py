"""Malformed shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from attacks.base import Attack, AttackView, Misconduct, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class MalformedShares(Attack):
    """Every malicious hospital trains honestly, and sends a node a share that it cannot use.

    The share is too short, comes with a proof that leads nowhere, or is not signed. Nobody can tell
    who lies; the hospital sits the round out. Needs nodes that sign: a defence with a ledger on the
    mpc backend.

    Attributes:
        kind: what is wrong with the share.
        node: whose share it is, >= 0.
    """

    kind: Literal["short_share", "useless_proof", "unsigned_share"] = "short_share"
    node: int = 0

    def __post_init__(self) -> None:
        require(self.node >= 0, "node", ">= 0", self.node)

    def misbehave(self, view: AttackView) -> Sequence[Misconduct]:
        """One share of each member, in every round."""
        return [Misconduct(rank, self.kind, self.node) for rank in range(view.num_malicious)]
