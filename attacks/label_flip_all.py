"""Label flipping of all classes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.base import Attack, AttackView
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class LabelFlipAll(Attack):
    """Train on rows of every class with the label turned over: y <- C - 1 - y, of C classes.

    Ref: Fang, Cao, Jia, Gong, USENIX Security 2020; ByzFL's label flipping.
    """

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Relabel every row."""
        return x.clone(), view.classes - 1 - y
