"""Label flipping."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class LabelFlip(Attack):
    """Train on rows of one class relabelled as another: y <- target where y = source.

    Ref: Tolpegin, Truex, Gursoy, Liu, ESORICS 2020. The default hides the positive class (death,
    malignancy) of both shipped data sets.

    Attributes:
        source_class: class that is relabelled.
        target_class: what it becomes.
    """

    objective: ClassVar[str] = "label_flip"
    source_class: int = 1
    target_class: int = 0

    def __post_init__(self) -> None:
        require(self.source_class >= 0, "source_class", ">= 0", self.source_class)
        require(self.target_class >= 0, "target_class", ">= 0", self.target_class)
        differ = self.source_class != self.target_class
        require(differ, "target_class", "different from source_class", self.target_class)

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Relabel every row of the source class."""
        return x.clone(), torch.where(y == self.source_class, self.target_class, y)
