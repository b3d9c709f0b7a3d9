"""Inner product manipulation, as strong as harms the rule in use most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require
from attacks.line_search import maximise
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class OptimalIpm(Attack):
    """Inner product manipulation with its strength found by line search.

    v = -tau m with the tau >= 0 that maximises ||rule(honest, v) - m||; m is the honest mean, and
    tau is `epsilon` of `ipm`. Ref: Allouah et al., AISTATS 2023; as ByzFL's
    `Optimal_InnerProductManipulation`.

    Attributes:
        evaluations: of the rule, >= 1.
        delta: first step of the search, > 0.
        ratio: by which steps shrink, in (0.5, 1).
    """

    knowledge: ClassVar[tuple[str, ...]] = ("honest", "rule")
    evaluations: int = 20
    delta: float = 10.0
    ratio: float = 0.8

    def __post_init__(self) -> None:
        require(self.evaluations >= 1, "evaluations", ">= 1", self.evaluations)
        require(self.delta > 0, "delta", "> 0", self.delta)
        require(0.5 < self.ratio < 1, "ratio", "in (0.5, 1)", self.ratio)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        seen = in_sight(honest, own).double()
        mean = seen.mean(dim=0)

        def sent(tau: float) -> torch.Tensor:
            return (-tau * mean).repeat(len(own), 1)

        def score(tau: float) -> float:
            update = view.simulate(torch.cat([seen, sent(tau)])).update
            return float((update - mean).norm())

        return sent(maximise(score, self.evaluations, self.delta, self.ratio)).to(own.dtype)
