"""What attacks over one share a round have in common."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from attacks.base import Attack, AttackView, Misconduct, require


@dataclass(frozen=True)
class ShareBreach(Attack):
    """Every malicious hospital trains honestly, and breaks the protocol over one node's share.

    Class attributes:
        breach: how (`attacks.base.Misconduct.kind`).

    Attributes:
        node: whose share it is, >= 0.
    """

    breach: ClassVar[str] = "wrong_share"
    node: int = 0

    def __post_init__(self) -> None:
        require(self.node >= 0, "node", ">= 0", self.node)

    def kind_of_breach(self) -> str:
        """What each does; by default the class's own."""
        return self.breach

    def misbehave(self, view: AttackView) -> Sequence[Misconduct]:
        """One share of each member, in every round."""
        kind = self.kind_of_breach()
        return [Misconduct(rank, kind, self.node) for rank in range(view.num_malicious)]
