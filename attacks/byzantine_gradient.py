"""Byzantine gradient manipulation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class ByzantineGradient(Attack):
    """Force the average of all n updates to be -strength times the honest mean m.

    v = (-strength * n * m - h * m) / f, with h honest and f malicious hospitals: the sum of all
    is then -strength * n * m. Without an honest hospital m is the mean of the attackers' own
    updates, and v = -strength * m. Ref: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017,
    who show that one Byzantine worker decides any linear rule; here f of them share the load.

    Attributes:
        strength: > 0; 1 makes the average exactly the opposite of the honest one.
    """

    knowledge: ClassVar[str] = "omniscient"
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(self.strength > 0, "strength", "> 0", self.strength)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        n, malicious = view.num_hospitals, view.num_malicious
        mean = in_sight(honest, own).mean(dim=0)  # (d,)
        vector = -(self.strength * n + (n - malicious)) / malicious * mean
        return vector.repeat(len(own), 1)
