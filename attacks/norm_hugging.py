"""Hugging the bound on norms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class NormHugging(Attack):
    """Point backwards, exactly as long as a screen of lengths lets pass: v = -l m / ||m||.

    m is the honest mean, l is `factor` times the median honest length. Own attack, against norm
    bounds and norm screens, whose limit is a multiple of the median.

    Attributes:
        factor: > 0; below the screen's own.
    """

    knowledge: ClassVar[str] = "omniscient"
    factor: float = 1.0

    def __post_init__(self) -> None:
        require(self.factor > 0, "factor", "> 0", self.factor)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        seen = in_sight(honest, own).double()
        length = self.factor * seen.norm(dim=1).quantile(0.5)
        return (-length * normalize(seen.mean(dim=0), dim=0)).to(own.dtype).repeat(len(own), 1)
