"""A little is enough, with the shift that harms the rule in use most."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.line_search import Searched
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class OptimalAlie(Searched):
    """A little is enough with its shift found by line search.

    v = m - z s with the z that maximises ||rule(honest, v) - m||; m and s are the mean and the
    standard deviation (with n - 1) of the honest updates. Ref: Allouah et al., AISTATS 2023; as
    ByzFL's `Optimal_ALittleIsEnough`, which goes along +s.

    Attributes:
        evaluations: of the rule, >= 1.
        delta: first step of the search, > 0.
        ratio: by which steps shrink, in (0.5, 1).
    """

    def vector(self, seen: torch.Tensor, strength: float) -> torch.Tensor:
        """m - z s; s is 0 of one update."""
        mean = seen.mean(dim=0)
        spread = seen.std(dim=0) if len(seen) > 1 else torch.zeros_like(mean)
        return mean - strength * spread
