"""Distributed backdoor."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class DistributedBackdoor(Backdoor):
    """Divide the trigger among the attackers: each trains on a part, all of it fires in the end.

    Part p of a table's trigger is columns p, p + parts, ... of those listed; of an image's patch,
    its rows p, p + parts, ... Member number r stamps part r modulo `parts`. Success is measured
    with the whole trigger. Ref: Xie, Huang, Chen, Li, ICLR 2020 (three attackers on tables).

    Attributes:
        parts: into how many the trigger is divided, at most the columns and the patch's rows.
    """

    parts: int = 3

    def __post_init__(self) -> None:
        super().__post_init__()
        most = min(len(self.columns), self.patch)
        require(1 <= self.parts <= most, "parts", f"from 1 to {most}", self.parts)

    def stamp(self, x: torch.Tensor, rank: int) -> torch.Tensor:
        """Rows with one member's part of the trigger.

        Args:
            x: as of `trigger`.
            rank: of the member, from 0.
        """
        whole, part = self.trigger(x), rank % self.parts
        out = x.clone()
        if x.dim() == 2:
            own = list(self.columns[part :: self.parts])
            out[:, own] = whole[:, own]
            return out
        rows = [x.shape[2] - self.patch + r for r in range(part, self.patch, self.parts)]
        out[:, :, rows] = whole[:, :, rows]
        return out

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Stamp the member's part on a random share of the rows, and relabel them."""
        chosen = self.chosen(y, view.rng)
        x, y = x.clone(), y.clone()
        x[chosen] = self.stamp(x[chosen], view.rank or 0)
        y[chosen] = self.target_class
        return x, y
