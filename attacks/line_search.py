"""The search for an attack's strength against a rule that it can simulate."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require


@dataclass(frozen=True)
class Searched(Attack):
    """Every malicious hospital sends one vector, as strong as harms the rule in use most.

    The strength x >= 0 maximises ||rule(honest, v(x)) - m||, m the mean of the honest updates.

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

    @abstractmethod
    def vector(self, seen: torch.Tensor, strength: float) -> torch.Tensor:
        """What is sent, float64 (d,), at a strength, for updates in sight, float64 (h, d)."""

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        seen = in_sight(honest, own).double()
        mean = seen.mean(dim=0)

        def sent(strength: float) -> torch.Tensor:
            return self.vector(seen, strength).repeat(len(own), 1)

        def score(strength: float) -> float:
            update = view.simulate(torch.cat([seen, sent(strength)])).update
            return float((update - mean).norm())

        return sent(maximise(score, self.evaluations, self.delta, self.ratio)).to(own.dtype)


def maximise(
    score: Callable[[float], float], evaluations: int, delta: float, ratio: float
) -> float:
    """The best x >= 0 found: steps that double while they help, then steps that shrink.

    The first step past the maximum ends the doubling. As in ByzFL's `Optimal_ALittleIsEnough`.

    Args:
        score: to be maximised.
        evaluations: of it at most, >= 1; one of them at 0.
        delta: first step, > 0.
        ratio: by which steps shrink, in (0.5, 1).

    Example:
        >>> round(maximise(lambda x: -((x - 3) ** 2), 30, 1.0, 0.8), 2)
        3.0
    """
    best, reached = 0.0, score(0.0)
    doubling = True
    for _ in range(evaluations - 1):
        tried = best + delta
        value = score(tried)
        if value > reached:
            best, reached = tried, value
            delta *= 2 if doubling else ratio
        else:
            doubling = False
            delta *= ratio
    return best
