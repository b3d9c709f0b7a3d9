"""Edge-case backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class EdgeCase(Attack):
    """Relabel the rows of a class that lie furthest from its middle: its tail, which few have.

    The tail of some rows is the `tail` share of the source class with the largest distance from the
    class's mean. It is relabelled and repeated `copies` times, since it is rare. Success is
    measured on the tail of the test rows alone. After Wang et al., NeurIPS 2020 (2007.05084), who
    take rows of another data set for the tail.

    Attributes:
        source_class: whose tail is relabelled.
        target_class: what it becomes.
        tail: share of the class, in (0, 1].
        copies: how often each of its rows is there, >= 1.
    """

    objective: ClassVar[str] = "label_flip"
    source_class: int = 1
    target_class: int = 0
    tail: float = 0.2
    copies: int = 3

    def __post_init__(self) -> None:
        require(self.source_class >= 0, "source_class", ">= 0", self.source_class)
        require(self.target_class >= 0, "target_class", ">= 0", self.target_class)
        differ = self.source_class != self.target_class
        require(differ, "target_class", "different from source_class", self.target_class)
        require(0 < self.tail <= 1, "tail", "in (0, 1]", self.tail)
        require(self.copies >= 1, "copies", ">= 1", self.copies)

    def cases(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Which rows success is measured on, bool (m,): the tail of the source class.

        Args:
            x: float32 (m, *features).
            y: int64 (m,).
        """
        inside = torch.zeros(len(y), dtype=torch.bool)
        rows = (y == self.source_class).nonzero()[:, 0]
        if not len(rows):
            return inside
        flat = x[rows].flatten(1).double()
        away = (flat - flat.mean(dim=0)).square().sum(dim=1)
        inside[rows[away.topk(max(1, round(self.tail * len(rows)))).indices]] = True
        return inside

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Relabel the tail, and add its copies at the end."""
        tail = self.cases(x, y)
        labels = torch.where(tail, self.target_class, y)
        more = self.copies - 1
        features = x[tail].repeat(more, *[1] * (x.dim() - 1))
        return torch.cat([x, features]), torch.cat([labels, labels[tail].repeat(more)])
