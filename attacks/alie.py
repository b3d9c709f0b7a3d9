"""A little is enough."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Alie(Attack):
    """Shift the honest mean by a few standard deviations, within their spread: v = m - z * s.

    m and s are the mean and the population standard deviation of the honest updates, coordinate
    by coordinate. z is the largest shift that still leaves enough honest hospitals further out
    for the malicious ones to be in the majority with them:
    z = Phi^-1((n - f - k) / (n - f)), k = floor(n/2 + 1) - f.
    With one honest hospital v is its update; with none, m and s are those of the attackers' own.
    Ref: Baruch, Baruch, Goldberg, NeurIPS 2019. (ByzFL goes along +s, of the sample deviation, by a
    fixed 1.5.)

    Attributes:
        z: the shift, in standard deviations; default from n and f by the formula.
    """

    knowledge: ClassVar[str] = "omniscient"
    z: float | None = None

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        z = self.z
        if z is None:
            z = derive_z(view.num_hospitals, view.num_malicious)
        seen = in_sight(honest, own).double()  # squares of float32 overflow from 1e19
        mean = seen.mean(dim=0)  # (d,)
        deviation = seen.std(dim=0, correction=0)  # (d,)
        return (mean - z * deviation).to(own.dtype).repeat(len(own), 1)


def derive_z(num_hospitals: int, num_malicious: int) -> float:
    """The shift z from n and f, for any of them.

    Where the malicious hospitals are a majority already, the formula has no bound; they then stay
    as if they needed one supporter, among themselves if nobody else is left. Where all honest
    hospitals are needed, z is 0.

    Raises:
        ValueError: f is not from 1 to n.
    """
    require(
        1 <= num_malicious <= num_hospitals,
        "num_malicious",
        f"from 1 to {num_hospitals}, all hospitals",
        num_malicious,
    )
    sample = num_hospitals - num_malicious or num_malicious
    supporters = max(num_hospitals // 2 + 1 - num_malicious, 1)
    if supporters >= sample:
        return 0.0
    return NormalDist().inv_cdf((sample - supporters) / sample)
