"""Values that are no numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from attacks.base import Attack, AttackView
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class InfNan(Attack):
    """Send infinity or NaN in every coordinate, to end the training of whoever adds it up.

    Here such an update is refused before it is encoded: what this shows is that it harms nobody.
    Infinity becomes NaN where norms are bounded (`privacy.clip_norm`). Ref: ByzFL's `Inf`.

    Attributes:
        value: "inf", "-inf" or "nan".
    """

    finite: ClassVar[bool] = False
    value: Literal["inf", "-inf", "nan"] = "inf"

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same value everywhere."""
        return torch.full_like(own, float(self.value))
