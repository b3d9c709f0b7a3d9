"""Withheld shares."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from attacks.base import Attack, AttackView, Misconduct, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class WithheldShares(Attack):
    """Every malicious hospital trains honestly and commits, but withholds a node's share.

    Nobody can tell who lies; the hospital sits the round out.
    Needs nodes that sign: a defence with a ledger on the mpc backend.

    Attributes:
        node: whose share it is, >= 0.
    """

    node: int = 0

    def __post_init__(self) -> None:
        require(self.node >= 0, "node", ">= 0", self.node)

    def misbehave(self, view: AttackView) -> Sequence[Misconduct]:
        """One share of each member, in every round."""
        return [Misconduct(rank, "withheld_share", self.node) for rank in range(view.num_malicious)]
