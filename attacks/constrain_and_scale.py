"""Constrain and scale."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class ConstrainAndScale(Backdoor):
    """Train a backdoor under a pull back to the broadcast model, then scale it up to a length.

    The loss is alpha L + (1 - alpha) ||w - w_0||^2: gradients are alpha g + 2 (1 - alpha)(w - w_0).
    What was trained is then scaled by min(n / f, bound / length), the bound being the norm that the
    federation enforces, if any; it is never scaled down.
    Ref: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020; here the distance is the
    anomaly that the loss counts.

    Attributes:
        alpha: weight of the poisoned rows against stealth, in (0, 1].
    """

    alpha: float = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.alpha <= 1, "alpha", "in (0, 1]", self.alpha)

    def constrain(
        self, params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, view: AttackView
    ) -> torch.Tensor:
        """Gradients of the loss with the pull."""
        return self.alpha * gradient + 2 * (1 - self.alpha) * (params - start)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Scale each row."""
        factor = torch.full((len(own), 1), view.num_hospitals / view.num_malicious).double()
        if view.clip_norm is not None:
            length = own.double().norm(dim=1, keepdim=True)
            room = torch.where(length > 0, view.clip_norm / length.clamp(min=1e-300), 1.0)
            factor = torch.minimum(factor, room).clamp(min=1.0)
        return (factor * own.double()).to(own.dtype)
