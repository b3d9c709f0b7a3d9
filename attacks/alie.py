"""A little is enough."""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, attack, require


@attack
@dataclass(frozen=True)
class Alie(Attack):
    """Shift the honest mean by a few standard deviations, within their spread: v = m - z * s.

    m and s are the mean and the population standard deviation of the honest updates, coordinate
    by coordinate. z is the largest shift that still leaves enough honest hospitals further out
    for the malicious ones to be in the majority with them:
    z = Phi^-1((n - f - k) / (n - f)), k = floor(n/2 + 1) - f.
    Ref: Baruch, Baruch, Goldberg, NeurIPS 2019.

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
        mean = honest.mean(dim=0)  # (d,)
        deviation = honest.std(dim=0, correction=0)  # (d,)
        return (mean - z * deviation).repeat(len(own), 1)


def derive_z(num_hospitals: int, num_malicious: int) -> float:
    """The shift z from n and f.

    Raises:
        ValueError: the formula has no finite value: f is 0 or so near n/2 that no honest hospital
            is needed, or so small that all of them are.
    """
    honest = num_hospitals - num_malicious
    supporters = num_hospitals // 2 + 1 - num_malicious
    defined = num_malicious > 0 and 0 < supporters < honest
    rule = "such that 0 < floor(n/2 + 1) - f < n - f, unless z is given"
    require(defined, "(num_hospitals, num_malicious)", rule, (num_hospitals, num_malicious))
    return NormalDist().inv_cdf((honest - supporters) / honest)
