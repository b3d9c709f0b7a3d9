"""Fang's attack on Krum."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.base import Attack, AttackView, in_sight, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class FangKrum(Attack):
    """Send -lambda sign(m) with the largest lambda, halved from a bound, that Krum would choose.

    m is the honest mean. All malicious hospitals send the same vector, so each has f - 1 others at
    distance 0. The bound is theirs, by the honest updates: lambda^2 <=
    min_i S_i / ((n - 2f - 1) d) with S_i the sum of squared distances to the n - f - 2 nearest,
    plus max_i ||u_i|| / sqrt(d). Krum is tried on all of them, with n - f - 2 neighbours. Where
    no lambda above the threshold is chosen, the last one stands.
    Ref: Fang, Cao, Jia, Gong, USENIX Security 2020.

    Attributes:
        threshold: halving stops below it, > 0; the paper's is 1e-5.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("honest", "rule")
    threshold: float = 1e-5

    def __post_init__(self) -> None:
        require(self.threshold > 0, "threshold", "> 0", self.threshold)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """The same vector for every malicious hospital."""
        seen = in_sight(honest, own).double()
        count = len(own)
        direction = -seen.mean(dim=0).sign()
        size = _bound(seen, count)
        while size > self.threshold and not _chosen(seen, size * direction, count):
            size /= 2
        return (size * direction).to(own.dtype).repeat(count, 1)


def krum_scores(updates: torch.Tensor, num_malicious: int) -> torch.Tensor:
    """Krum's scores (n,): squared distances to the n - f - 2 nearest others, at least one."""
    exact = "donot_use_mm_for_euclid_dist"
    squares = torch.cdist(updates, updates, compute_mode=exact).square()
    nearest = max(1, len(updates) - num_malicious - 2)
    return squares.sort(dim=1).values[:, 1 : nearest + 1].sum(dim=1)


def _chosen(honest: torch.Tensor, vector: torch.Tensor, count: int) -> bool:
    """Whether Krum would choose the vector, sent `count` times; ties go to whoever comes first."""
    everyone = torch.cat([vector.repeat(count, 1), honest])
    return int(krum_scores(everyone, count).argmin()) < count


def _bound(honest: torch.Tensor, count: int) -> float:
    total, dim = len(honest) + count, honest.shape[1]
    if len(honest) < 2:
        return float(honest.norm(dim=1).max()) / dim**0.5
    least = float(krum_scores(honest, 0).min())
    room = max(1, total - 2 * count - 1)
    return (least / (room * dim)) ** 0.5 + float(honest.norm(dim=1).max()) / dim**0.5
