"""Sybil clones."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.base import AttackView, require
from attacks.label_flip import LabelFlip
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Sybil(LabelFlip):
    """One poisoned update under many names: each sends the mean of what all trained, label-flipped.

    With noise the clones differ: e normal of length about noise times the update's, made to cancel
    among them, so that their sum stays what it was. Ref: Fung, Yoon, Beschastnikh, RAID 2020.

    Attributes:
        noise: >= 0; 0 sends identical rows.
    """

    noise: float = 0.0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.noise >= 0, "noise", ">= 0", self.noise)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The mean of the rows, for each of them."""
        mean = own.double().mean(dim=0)
        rows = mean.repeat(len(own), 1)
        if self.noise and len(own) > 1:
            drawn = torch.randn(own.shape, generator=view.rng, dtype=torch.float64)
            drawn = drawn - drawn.mean(dim=0)
            rows = rows + self.noise * mean.norm() / own.shape[1] ** 0.5 * drawn
        return rows.to(own.dtype)
