"""Dynamic label flipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class LabelFlipDynamic(Attack):
    """Train on rows with the label that the broadcast model finds least likely.

    y <- argmin_c p_c(x), anew in each round. Ref: Shejwalkar, Houmansadr, Kairouz, Ramage, IEEE
    S&P 2022 (dynamic label flipping, there with a surrogate model of the attackers' own).
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model",)
    every_round: ClassVar[bool] = True

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Relabel every row."""
        params = view.global_model.float().unsqueeze(0)
        with torch.no_grad():
            logits = view.network.logits(params, x.unsqueeze(0))[0]  # (m, C)
        return x.clone(), logits.argmin(dim=1)
