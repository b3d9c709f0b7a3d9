"""Backdoor-critical layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class BcLayers(Backdoor):
    """Send the backdoor in the few layers that it needs, and honest parameters in all others.

    Each layer of the backdoored model in turn is replaced by the one trained on clean rows; layers
    are ranked by how much the trigger then loses. They are put back into the clean model in that
    order until it answers triggered rows at `threshold` of the backdoored model's rate. Each row
    sends its backdoored parameters in those layers, and what it trained on clean rows in others.
    Ref: Zhuang, Yu, Zhang, Wu, Zhang, Xu, ICLR 2024 (layer substitution analysis, LP attack).

    Attributes:
        threshold: share of the backdoored model's success to reach, in (0, 1].
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model", "benign")
    threshold: float = 0.95

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.threshold <= 1, "threshold", "in (0, 1]", self.threshold)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Rows that are backdoored in the critical layers alone."""
        critical = self.critical(own, view)
        return torch.where(critical, own, view.benign.to(own.dtype))

    def critical(self, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Coordinates of the critical layers, bool (d,), by the mean of the attackers' models."""
        bad, good = own.mean(dim=0), view.benign.to(own.dtype).mean(dim=0)
        layers = [_mask(view.network.shapes, index) for index in range(len(view.network.shapes))]
        full = self.success(bad, view)
        losses = [full - self.success(torch.where(layer, good, bad), view) for layer in layers]
        chosen = torch.zeros(len(bad), dtype=torch.bool)
        for index in sorted(range(len(layers)), key=lambda i: -losses[i]):
            chosen = chosen | layers[index]
            if self.success(torch.where(chosen, bad, good), view) >= self.threshold * full:
                break
        return chosen

    def success(self, update: torch.Tensor, view: AttackView) -> float:
        """Mean probability of the target class on the attackers' own rows with the trigger."""
        x = self.trigger(torch.cat([rows for rows, _ in view.rows]))
        params = (view.global_model.to(update.dtype) + update).float().unsqueeze(0)
        with torch.no_grad():
            odds = view.network.logits(params, x.unsqueeze(0))[0].softmax(dim=1)
        return float(odds[:, self.target_class].mean())


def _mask(shapes: Sequence[tuple[int, ...]], index: int) -> torch.Tensor:
    """Coordinates of one parameter tensor, bool (d,)."""
    parts = [torch.full((math.prod(shape),), i == index) for i, shape in enumerate(shapes)]
    return torch.cat(parts)
