"""Random noise."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class RandomNoise(Attack):
    """Send Gaussian noise in place of the update: v_i ~ N(0, sigma^2 I), a fresh one each.

    Ref: Blanchard, El Mhamdi, Guerraoui, Stainer, NeurIPS 2017 ("Gaussian" workers, with a
    deviation far above that of gradients).

    Attributes:
        sigma: standard deviation of each coordinate, > 0. The default of 1 is some hundred times
            the coordinates of a trained update.
    """

    sigma: float = 1.0

    def __post_init__(self) -> None:
        require(self.sigma > 0, "sigma", "> 0", self.sigma)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Independent noise for every malicious hospital."""
        noise = torch.randn(own.shape, generator=view.rng, dtype=own.dtype)
        return self.sigma * noise
