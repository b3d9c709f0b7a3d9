"""Fake clients that drag the model towards a worthless one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, require
from attacks.memory import Memory
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Mpaf(Attack):
    """Send `scale` times the way from the broadcast model to a random base: v = scale (b - w).

    b is drawn once, each coordinate as the first model that was seen has them: normal, of its mean
    and standard deviation. Needs no data. Ref: Cao, Gong, CVPR Workshops 2022 (MPAF).

    Attributes:
        scale: > 0. The bound on an update's norm holds here too.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model",)
    scale: float = 1e6

    def __post_init__(self) -> None:
        require(self.scale > 0, "scale", "> 0", self.scale)

    def init(self, view: AttackView) -> Memory:
        """The base model, float64 (d,)."""
        model = view.global_model.double()
        drawn = torch.randn(len(model), generator=view.rng, dtype=torch.float64)
        return {"base": model.mean() + model.std(correction=0) * drawn}

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        away = view.memory["base"] - view.global_model.double()
        return (self.scale * away).to(own.dtype).repeat(len(own), 1)
