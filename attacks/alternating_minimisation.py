"""Alternating minimisation."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class AlternatingMinimisation(Backdoor):
    """Take turns in training: a boosted step for the backdoor, then steps that look honest.

    Every (`stealth` + 1)-th step follows `boost` times the gradient on poisoned rows; the others
    follow that on clean rows plus rho times that of ||w - w_0 - u||^2, u the last combined update,
    which stands for what honest hospitals do. All members see the same clean batch, drawn from the
    rows of all of them. Ref: Bhagoji, Chakraborty, Mittal, Calo, ICML 2019.

    Attributes:
        boost: > 0; default: n / f.
        rho: weight of the distance, >= 0.
        stealth: steps for stealth after each for the backdoor, >= 0.
        batch: clean rows in a step, >= 1.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model", "previous")
    boost: float | None = None
    rho: float = 1e-4
    stealth: int = 1
    batch: int = 32

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.boost is None or self.boost > 0, "boost", "> 0", self.boost)
        require(self.rho >= 0, "rho", ">= 0", self.rho)
        require(self.stealth >= 0, "stealth", ">= 0", self.stealth)
        require(self.batch >= 1, "batch", ">= 1", self.batch)

    def constrain(
        self, params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, view: AttackView
    ) -> torch.Tensor:
        """The boosted gradient, or that of the stealthy objective."""
        step = view.step or 0
        if step % (self.stealth + 1) == 0:
            default = view.num_hospitals / view.num_malicious
            return gradient * (self.boost if self.boost is not None else default)
        x, y = (torch.cat([rows[i] for rows in view.rows]) for i in (0, 1))
        drawn = torch.Generator().manual_seed(step)
        rows = torch.randint(len(y), (self.batch,), generator=drawn)
        count = len(params)
        honest = view.network.gradients(
            params,
            x[rows].to(params.device).expand(count, *x[rows].shape),
            y[rows].to(params.device).expand(count, -1),
            torch.full((count, self.batch), 1 / self.batch, device=params.device),
        )
        usual = start + view.previous_update.to(params.device, params.dtype)
        return honest + 2 * self.rho * (params - usual)
