"""Chameleon."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Chameleon(Backdoor):
    """Draw triggered rows to the target class in the hidden layer, then train the output alone.

    So the backdoor rests on what honest hospitals keep training, and lasts. In the first
    `adapt_steps` steps all layers but the last follow the supervised contrastive loss of z, the
    last hidden activations at length 1, over a batch in which a share `fraction` of the rows has
    the trigger and the target label:
    mean over i of -mean over p of log(exp(z_i z_p / t) / sum over a != i of exp(z_i z_a / t)), p
    the others of i's label. In all later steps the last layer alone follows its gradient. All
    members see the same contrastive batch, drawn from the rows of all of them. Needs a model with
    known hidden activations: mlp or cnn. Ref: Dai, Li, ICML 2023, without their weights for rows
    that resemble the triggered ones.

    Attributes:
        adapt_steps: local steps of the first stage, >= 1; no longer training ever reaches the
            second.
        temperature: t, > 0; 0.1 as Khosla et al., NeurIPS 2020.
        batch: rows in a contrastive step, >= 2.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model",)
    adapt_steps: int = 10
    temperature: float = 0.1
    batch: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.adapt_steps >= 1, "adapt_steps", ">= 1", self.adapt_steps)
        require(self.temperature > 0, "temperature", "> 0", self.temperature)
        require(self.batch >= 2, "batch", ">= 2", self.batch)

    def constrain(
        self, params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, view: AttackView
    ) -> torch.Tensor:
        """The contrastive gradient of all layers but the last, or the last layer's own."""
        last = sum(math.prod(shape) for shape in view.network.shapes[-2:])
        step = view.step or 0
        if step >= self.adapt_steps:
            kept = torch.zeros_like(gradient)
            kept[:, -last:] = gradient[:, -last:]
            return kept
        x, y = self.drawn(view, step)
        leaf = params.detach().requires_grad_()
        hidden = view.network.hidden(leaf, x.to(params.device).expand(len(params), *x.shape))
        loss = contrastive(hidden, y.to(params.device), self.temperature).sum()
        if not loss.requires_grad:  # a model without a layer before the last
            return torch.zeros_like(gradient)
        (found,) = torch.autograd.grad(loss, leaf)
        return found

    def drawn(self, view: AttackView, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        """The rows (batch, *features) and labels of a contrastive step."""
        x, y = (torch.cat([rows[i] for rows in view.rows]) for i in (0, 1))
        rng = torch.Generator().manual_seed(step)
        rows = torch.randint(len(y), (self.batch,), generator=rng)
        x, y = x[rows], y[rows].clone()
        chosen = self.chosen(y, rng)
        x[chosen] = self.trigger(x[chosen])
        y[chosen] = self.target_class
        return x, y


def contrastive(hidden: torch.Tensor, y: torch.Tensor, temperature: float) -> torch.Tensor:
    """Supervised contrastive loss of each of n networks, (n,).

    Args:
        hidden: float (n, B, k), scaled to length 1 here.
        y: int64 (B,).
        temperature: > 0.
    """
    z = F.normalize(hidden, dim=2)
    alike = z @ z.mT / temperature  # (n, B, B)
    itself = torch.eye(len(y), dtype=torch.bool, device=y.device)
    others = alike.masked_fill(itself, -torch.inf).logsumexp(dim=2, keepdim=True)
    same = (y.unsqueeze(0) == y.unsqueeze(1)) & ~itself  # (B, B)
    count = same.sum(dim=1)
    each = -((alike - others) * same).sum(dim=2) / count.clamp(min=1)
    paired = count > 0
    return (each * paired).sum(dim=1) / paired.sum().clamp(min=1)
