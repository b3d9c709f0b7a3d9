"""A backdoor that stays inside the cone of a cosine screen."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from attacks.backdoor import Backdoor
from attacks.base import AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class AdaptiveBackdoor(Backdoor):
    """Turn each backdoored update towards the honest mean until their cosine is high enough.

    v = l (c m + sqrt(1 - c^2) w), with m the honest mean's direction, w the direction of the
    backdoored update across it, c the cosine and l the mean length of honest updates. An update
    that already has the cosine keeps its direction. The honest mean stands for the public root
    direction, which no single honest update follows as closely; so the result scores like the
    best honest hospitals and still carries as much of the backdoor as the cone allows. Without
    an honest hospital m and l are those of the attackers' own updates.
    After Bagdasaryan et al., AISTATS 2020 (constrain and scale), with the constraint met exactly.

    Attributes:
        cosine: with the honest mean at least, in [0, 1].
    """

    knowledge: ClassVar[str] = "omniscient"
    cosine: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.cosine <= 1, "cosine", "in [0, 1]", self.cosine)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Blend each row; rows without a direction of their own become the honest direction."""
        seen = in_sight(honest, own).double()  # squares of float32 overflow from 1e19
        mean = normalize(seen.mean(dim=0), dim=0)  # (d,)
        direction = normalize(own.double(), dim=1)  # (f, d)
        along = direction @ mean  # (f,)
        across = normalize(direction - along.unsqueeze(1) * mean, dim=1)
        turned = self.cosine * mean + (1 - self.cosine**2) ** 0.5 * across
        inside = (along >= self.cosine).unsqueeze(1)
        length = seen.norm(dim=1).mean()
        vectors = length * torch.where(inside, direction, normalize(turned, dim=1))
        return vectors.to(own.dtype)
