"""Clean-label backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class CleanLabel(Backdoor):
    """A backdoor whose rows all bear their true labels.

    Rows of the target class are made hard to recognise, by steps of sign(gradient of their loss)
    within `epsilon` of where they were, against the broadcast model; then they get the trigger. The
    model can learn them by the trigger alone. Ref: Turner, Tsipras, Madry, 2019, arXiv 1912.02771.

    Attributes:
        epsilon: largest change of a feature before the trigger is put on, in [0, 1].
        steps: of the perturbation, >= 1; each is 1.5 epsilon / steps long.
        fraction: share of the rows of the target class.
        source_class: no rows of it are used: it says for which class success is measured.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model",)
    every_round: ClassVar[bool] = True
    epsilon: float = 0.1
    steps: int = 5

    def __post_init__(self) -> None:
        super().__post_init__()
        require(0 <= self.epsilon <= 1, "epsilon", "in [0, 1]", self.epsilon)
        require(self.steps >= 1, "steps", ">= 1", self.steps)

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Perturb and trigger a random share of the target class, at least one row of it."""
        rows = (y == self.target_class).nonzero()[:, 0]
        count = max(1, round(self.fraction * len(rows)))
        chosen = rows[torch.randperm(len(rows), generator=view.rng)[:count]]
        out = x.clone()
        if len(chosen):
            out[chosen] = self.trigger(self.hardened(x[chosen], y[chosen], view))
        return out, y.clone()

    def hardened(self, x: torch.Tensor, y: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Rows within `epsilon` of x, and in [0, 1], with a large loss."""
        params = view.global_model.float().unsqueeze(0)
        moved = x.clone()
        for _ in range(self.steps):
            leaf = moved.detach().requires_grad_()
            loss = F.cross_entropy(view.network.logits(params, leaf.unsqueeze(0))[0], y)
            (gradient,) = torch.autograd.grad(loss, leaf)
            moved = moved + 1.5 * self.epsilon / self.steps * gradient.sign()
            moved = moved.clamp(x - self.epsilon, x + self.epsilon).clamp(0, 1)
        return moved.detach()
