"""Min-Sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight
from attacks.min_max import EXACT, Direction, check_direction, perturbation, reach
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class MinSum(Attack):
    """Go as far from the honest mean as the sum of squared distances of an honest update allows.

    v = m + g p with the largest g such that sum_i ||v - u_i||^2 <= max_i sum_j ||u_i - u_j||^2.
    With one honest hospital v is its update; with none, the u_i are the attackers' own.
    Ref: Shejwalkar, Houmansadr, NDSS 2021; g exact as in `min_max`.

    Attributes:
        direction: p, as in `min_max`.
    """

    knowledge: ClassVar[str] = "omniscient"
    direction: Direction = "std"

    def __post_init__(self) -> None:
        check_direction(self.direction)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        seen = in_sight(honest, own).double()  # squares of float32 overflow from 1e19
        mean = seen.mean(dim=0)  # (d,)
        p = perturbation(seen, self.direction)
        squares = torch.cdist(seen, seen, compute_mode=EXACT).square()
        # sum_i ||v - u_i||^2 = h g^2 ||p||^2 + sum_i ||m - u_i||^2: the linear term sums to zero
        slack = (squares.sum(1).max() - (mean - seen).square().sum()) / len(seen)
        vector = mean + reach(p, torch.zeros_like(slack), slack) * p
        return vector.to(own.dtype).repeat(len(own), 1)
