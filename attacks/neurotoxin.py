"""Neurotoxin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.memory import Memory
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Neurotoxin(Backdoor):
    """A backdoor that leaves alone the coordinates that honest hospitals move most, and so lasts.

    Gradients are zero on the `top` share of coordinates that were largest in the last combined
    update; the rest are followed. In the first round nothing is known and none is masked.
    Ref: Zhang, Panda, Song, Yang, Mahoney, Gonzalez, Ramchandran, Mittal, ICML 2022.

    Attributes:
        top: share of coordinates left alone, in [0, 1).
    """

    knowledge: ClassVar[tuple[str, ...]] = ("previous",)
    top: float = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.top < 1, "top", "in [0, 1)", self.top)

    def prepare(self, view: AttackView) -> Memory:
        """Which coordinates are followed in this round."""
        size = view.previous_update.abs()
        free = torch.ones(len(size), dtype=torch.bool)
        if bool(size.any()):
            free[size.topk(int(self.top * len(size))).indices] = False
        return {"free": free}

    def constrain(
        self, params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, view: AttackView
    ) -> torch.Tensor:
        """Gradients without the coordinates left alone."""
        return gradient * view.memory["free"].to(gradient.device)
