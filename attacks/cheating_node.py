"""A cheating computing node."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from attacks.base import Attack, Corruption, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class CheatingNode(Attack):
    """A computing node denies that honest hospitals' shares opened; all hospitals are honest.

    "denial": it had given a receipt. The hospital shows that to the contract, which finds the node
    at fault, and the share counts. "denial_without_receipt": it gave none. Nobody can tell who
    lies, and the hospital sits the round out: a node can keep hospitals away, and be seen to. What
    a node does inside the computation is not this attack's: what of that is caught, and that a
    falsified result is not, `docs/threat-model.md` says ("A malicious node"). Own attack. Needs
    nodes that sign: a defence with a ledger on the mpc backend.

    Attributes:
        kind: how it denies.
        node: which, >= 0.
        victims: seats of the hospitals whose shares it denies, >= 0.
    """

    kind: Literal["denial", "denial_without_receipt"] = "denial"
    node: int = 0
    victims: tuple[int, ...] = (0,)

    def __post_init__(self) -> None:
        require(self.node >= 0, "node", ">= 0", self.node)
        distinct = len(set(self.victims)) == len(self.victims) > 0
        seats = distinct and min(self.victims) >= 0
        require(seats, "victims", "distinct seats from 0, at least one", self.victims)

    def corrupt(self) -> Sequence[Corruption]:
        """The same share of each victim in every round in which it acts."""
        return [Corruption(hospital, self.kind, self.node) for hospital in self.victims]
