"""Min-Max, and the perturbation it shares with Min-Sum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from attacks.base import Attack, AttackView, in_sight
from attacks.registry import attack

Direction = Literal["std", "unit", "sign"]


@attack
@dataclass(frozen=True)
class MinMax(Attack):
    """Go as far from the honest mean as the two most distant honest updates are from each other.

    v = m + g p with the largest g such that max_i ||v - u_i|| <= max_ij ||u_i - u_j||.
    Ref: Shejwalkar, Houmansadr, NDSS 2021. They search for g by halving; here it is
    the smallest positive root of one quadratic for each i, so it is exact. With one honest
    hospital v is its update; with none, the u_i are the attackers' own.

    Attributes:
        direction: p. "std" is the negative standard deviation (with n-1, as their code has it),
            the default; "unit" the negative mean of length 1; "sign" the negative sign of the
            mean.
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
        offset = mean - seen  # (h, d)
        limit = torch.cdist(seen, seen, compute_mode=EXACT).max().square()
        slack = limit - offset.square().sum(1)  # (h,), >= 0 by the triangle inequality
        return (mean + reach(p, offset @ p, slack) * p).to(own.dtype).repeat(len(own), 1)


EXACT = "donot_use_mm_for_euclid_dist"  # the matrix product loses half the digits


def check_direction(direction: str) -> None:
    """Refuse an unknown direction, at construction."""
    if direction not in ("std", "unit", "sign"):
        raise ValueError(f'direction must be "std", "unit" or "sign"; got {direction!r}')


def perturbation(honest: torch.Tensor, direction: Direction) -> torch.Tensor:
    """The direction p (d,) of Min-Max and Min-Sum; zero if the honest updates give none."""
    mean = honest.mean(dim=0)
    if direction == "sign":
        return -mean.sign()
    if direction == "unit":
        return -torch.nn.functional.normalize(mean, dim=0)
    return -honest.std(dim=0) if len(honest) > 1 else torch.zeros_like(mean)


def reach(p: torch.Tensor, slope: torch.Tensor, slack: torch.Tensor) -> torch.Tensor:
    """Largest g >= 0 with g^2 ||p||^2 + 2 g slope_i <= slack_i for all i; 0 if p is zero."""
    square = p.square().sum()
    if square == 0:
        return square
    root = (slope.square() + square * slack.clamp(min=0)).sqrt()
    return ((root - slope) / square).min()
