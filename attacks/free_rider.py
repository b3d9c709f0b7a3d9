"""Free rider."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class FreeRider(Attack):
    """Train nothing, and send the last combined update with noise, to profit from the model.

    v = u + sigma ||u|| / sqrt(d) e, e normal and independent for each hospital. In the first round,
    where nothing was combined, the noise has the length `first`. Ref: Fraboni, Vidal, Lorenzi,
    AISTATS 2021 (disguised free rider), on the combined update.

    Attributes:
        sigma: length of the noise against the update's, about, >= 0.
        first: length of what is sent in the first round, >= 0.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("previous",)
    sigma: float = 0.1
    first: float = 0.01

    def __post_init__(self) -> None:
        require(self.sigma >= 0, "sigma", ">= 0", self.sigma)
        require(self.first >= 0, "first", ">= 0", self.first)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Independent noise for every malicious hospital."""
        last = view.previous_update.double()
        length = float(last.norm())
        size = self.sigma * length if length else self.first
        noise = torch.randn(own.shape, generator=view.rng, dtype=torch.float64)
        return (last + size / own.shape[1] ** 0.5 * noise).to(own.dtype)
