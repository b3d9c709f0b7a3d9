"""Sign flipping."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class SignFlip(Attack):
    """Send the opposite of what was trained: v_i = -strength * u_i.

    Each malicious hospital multiplies its own update, which needs no knowledge of the others.
    Ref: Allen-Zhu, Ebrahimianghazani, Li, Alistarh, ICLR 2021, who flip the sign of a worker's
    own gradient, strength 1. (ByzFL flips the honest mean: that is `ipm` here.)

    Attributes:
        strength: > 0.
    """

    strength: float = 1.0

    def __post_init__(self) -> None:
        require(self.strength > 0, "strength", "> 0", self.strength)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Negate and scale each row."""
        return -self.strength * own
