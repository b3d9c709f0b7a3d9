"""An attack of your own; docs/extending.md lists its other hooks and what else it can know."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks import Attack, AttackView, attack
from attacks.base import require


@attack
@dataclass(frozen=True)
class MyAttack(Attack):
    """Send the honest mean backwards: v = -strength * mean_i(x_i).

    Knowledge: the honest updates.  Ref: Xie, Koyejo, Gupta, UAI 2019 (inner-product manipulation).

    Attributes:
        strength: how far, as a multiple of the honest mean; above 0.
    """

    knowledge = ("honest",)
    objective = "untargeted"
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(0 < self.strength < float("inf"), "strength", "> 0 and finite", self.strength)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Replace the malicious updates: honest (h, d), own (f, d) -> (f, d)."""
        crafted = -self.strength * honest.mean(dim=0)  # (d,)
        return crafted.repeat(len(own), 1)  # new rows, no shared storage
