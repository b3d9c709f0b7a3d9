"""Inner product manipulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class InnerProductManipulation(Attack):
    """Send the honest mean reversed: v = -epsilon * m, so that the aggregate points backwards.

    Without an honest hospital m is the mean of the attackers' own updates.
    Ref: Xie, Koyejo, Gupta, UAI 2019.

    Attributes:
        epsilon: > 0. Small values hide from distance rules; the default of 2 is ByzFL's,
            whose `SignFlipping` is epsilon 1.
    """

    knowledge: ClassVar[str] = "omniscient"
    epsilon: float = 2.0

    def __post_init__(self) -> None:
        require(self.epsilon > 0, "epsilon", "> 0", self.epsilon)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        mean = in_sight(honest, own).mean(dim=0)  # (d,)
        return (-self.epsilon * mean).repeat(len(own), 1)
