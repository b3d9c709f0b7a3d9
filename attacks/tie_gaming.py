"""Gaming ties."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class TieGaming(Attack):
    """All send the very same update, so that a median score, or the limit, is their own score.

    v = m - strength ||m|| w, m the honest mean and w the direction of sign(m). The attackers agree
    with each other perfectly: pairwise scores tie at their best, and a limit set at a middle score
    lets them pass where they are as many as the middle. Own attack, against screens by order
    statistics.

    Attributes:
        strength: how far they go astray, in lengths of the honest mean, > 0.
    """

    knowledge: ClassVar[str] = "omniscient"
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(self.strength > 0, "strength", "> 0", self.strength)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        mean = in_sight(honest, own).double().mean(dim=0)
        astray = self.strength * mean.norm() * normalize(mean.sign(), dim=0)
        return (mean - astray).to(own.dtype).repeat(len(own), 1)
