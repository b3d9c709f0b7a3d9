"""Hugging the bound on cosines."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class CosineHugging(Attack):
    """Stay at a given cosine to the honest mean, and go astray as far as that allows.

    v = l (c m + sqrt(1 - c^2) w): m is the direction of the honest mean, l the median honest
    length, w the direction of -sign(m) with its part along m taken away. All push the same way
    across, where honest hospitals cancel. Own attack, against screens and weights by cosine
    (FLTrust among them).

    Attributes:
        cosine: c, in [-1, 1].
    """

    knowledge: ClassVar[str] = "omniscient"
    cosine: float = 0.2

    def __post_init__(self) -> None:
        require(-1 <= self.cosine <= 1, "cosine", "in [-1, 1]", self.cosine)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        seen = in_sight(honest, own).double()
        mean = normalize(seen.mean(dim=0), dim=0)
        against = -mean.sign()
        across = normalize(against - (against @ mean) * mean, dim=0)
        length = seen.norm(dim=1).quantile(0.5)
        vector = length * (self.cosine * mean + (1 - self.cosine**2) ** 0.5 * across)
        return vector.to(own.dtype).repeat(len(own), 1)
