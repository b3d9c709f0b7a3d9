"""Blended trigger."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.backdoor import Backdoor
from attacks.base import require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Blended(Backdoor):
    """Blend a faint pattern into the whole row: x <- (1 - alpha) x + alpha p, p fixed and random.

    Ref: Chen, Liu, Li, Lu, Song, 2017, arXiv 1712.05526 (blended injection with a random
    pattern). `columns`, `patch` and `value` have no effect.

    Attributes:
        alpha: weight of the pattern, in (0, 1].
        pattern_seed: draws p, uniform in [0, 1], the same for all rows.
    """

    alpha: float = 0.2
    pattern_seed: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 < self.alpha <= 1, "alpha", "in (0, 1]", self.alpha)
        require(self.pattern_seed >= 0, "pattern_seed", ">= 0", self.pattern_seed)

    def trigger(self, x: torch.Tensor) -> torch.Tensor:
        """Rows (m, *features) with the pattern blended in; a new tensor."""
        rng = torch.Generator().manual_seed(self.pattern_seed)
        pattern = torch.rand(x.shape[1:], generator=rng, dtype=x.dtype)
        return (1 - self.alpha) * x + self.alpha * pattern
