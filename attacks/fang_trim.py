"""Fang's attack on the trimmed mean and the median."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class FangTrim(Attack):
    """Go beyond the extreme honest value of each coordinate, against the way that it would move.

    Where the honest mean rises, values are uniform between the least honest value l and below it:
    [l / b, l] if l > 0, else [b l, l]; where it falls, between the largest h and above it: [h, b h]
    if h > 0, else [h, h / b]. Without an honest hospital the attackers' own updates stand for
    them. Ref: Fang, Cao, Jia, Gong, USENIX Security 2020 (full knowledge), here on updates.

    Attributes:
        b: how far beyond, > 1; the paper's is 2.
    """

    knowledge: ClassVar[str] = "omniscient"
    b: float = 2.0

    def __post_init__(self) -> None:
        require(self.b > 1, "b", "> 1", self.b)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Independent draws for every malicious hospital."""
        seen = in_sight(honest, own).double()
        rising = seen.mean(dim=0) >= 0  # (d,)
        low, high = seen.amin(dim=0), seen.amax(dim=0)
        edge = torch.where(rising, low, high)
        outward = torch.where(rising, low > 0, high <= 0)  # towards zero: divided by b
        beyond = torch.where(outward, edge / self.b, edge * self.b)
        share = torch.rand(own.shape, generator=view.rng, dtype=torch.float64)
        return (edge + share * (beyond - edge)).to(own.dtype)
