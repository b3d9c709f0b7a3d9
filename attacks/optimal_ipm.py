"""Inner product manipulation, as strong as harms the rule in use most."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.line_search import Searched
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class OptimalIpm(Searched):
    """Inner product manipulation with its strength found by line search.

    v = -tau m with the tau >= 0 that maximises ||rule(honest, v) - m||; m is the honest mean, and
    tau is `epsilon` of `ipm`. Ref: Allouah et al., AISTATS 2023; as ByzFL's
    `Optimal_InnerProductManipulation`.

    Attributes:
        evaluations: of the rule, >= 1.
        delta: first step of the search, > 0.
        ratio: by which steps shrink, in (0.5, 1).
    """

    def vector(self, seen: torch.Tensor, strength: float) -> torch.Tensor:
        """-tau m."""
        return -strength * seen.mean(dim=0)
