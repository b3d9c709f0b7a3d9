"""Projected-gradient backdoor."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class PgdBackdoor(Backdoor):
    """Train a backdoor inside a ball around the broadcast model: every step is projected onto it.

    So nothing of the backdoor is lost to a bound on norms. Ref: Wang et al., NeurIPS 2020
    (2007.05084; PGD without replacement).

    Attributes:
        radius: of the ball, > 0; default: the norm that the federation enforces, or 1 without one.
    """

    radius: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.radius is None or self.radius > 0, "radius", "> 0", self.radius)

    def project(self, params: torch.Tensor, start: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The nearest parameters within the ball."""
        radius = self.radius if self.radius is not None else view.clip_norm or 1.0
        away = params - start
        length = away.norm(dim=1, keepdim=True).clamp(min=1e-30)
        return torch.where(length > radius, start + away * (radius / length), params)
