"""Adversarially adaptive backdoor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.memory import Memory
from attacks.registry import attack
from attacks.view import Network


@attack
@dataclass(frozen=True)
class A3fl(Backdoor):
    """Learn the trigger against the broadcast model, and against that model trained to unlearn it.

    In every round the trigger d goes on from where it was, by steps d - rate sign(gradient) within
    [0, 1], down L(w, x + d, target) + c lambda L(w', x + d, target). w is the broadcast model; w'
    is w after `adapt_steps` steps of SGD towards true labels on rows with the trigger, made anew in
    each step but the first, and c the cosine of w and w'. All rows are the members' own, of a class
    other than the target. Success is measured with the trigger of the round, on the clean model
    too: what the trigger does to any model is in the base rate.
    Ref: Zhang, Jia, Chen, Lin, Wu, NeurIPS 2023. Their code takes c from gradients of convolutions,
    and draws 200 passes over the rows in place of single batches.

    Attributes:
        value: what the trigger writes before anything is learned, in [0, 1].
        steps: for the trigger in a round, >= 1.
        rate: of such a step, > 0.
        adaptation: lambda, >= 0; 0 learns against the broadcast model alone.
        adapt_steps: towards w', >= 1.
        adapt_rate: of these, > 0.
        batch: rows in a step, >= 1.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model",)
    every_round: ClassVar[bool] = True
    value: float = 0.5
    steps: int = 20
    rate: float = 0.05
    adaptation: float = 0.01
    adapt_steps: int = 5
    adapt_rate: float = 0.01
    batch: int = 64

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("steps", "adapt_steps", "batch"):
            require(getattr(self, name) >= 1, name, ">= 1", getattr(self, name))
        for name in ("rate", "adapt_rate"):
            require(getattr(self, name) > 0, name, "> 0", getattr(self, name))
        require(self.adaptation >= 0, "adaptation", ">= 0", self.adaptation)

    def init(self, view: AttackView) -> Memory:
        """The trigger before anything is learned: (columns,) or (channels, patch, patch)."""
        return {"trigger": self._written(self.trigger(view.rows[0][0][:1]))[0]}

    def prepare(self, view: AttackView) -> Memory:
        """Learn the round's trigger."""
        x, y = (torch.cat([rows[i] for rows in view.rows]) for i in (0, 1))
        source = self.source_class
        others = y != self.target_class if source is None else y == source
        if not bool(others.any()):
            return view.memory
        x, y = x[others], y[others]
        model, network = view.global_model.float(), view.network
        values, adapted, weight = view.memory["trigger"], model, 0.0
        for step in range(self.steps):
            drawn = torch.randint(len(y), (min(self.batch, len(y)),), generator=view.rng)
            if step and self.adaptation:
                adapted = self.unlearned(network, model, self.stamp(x[drawn], values), y[drawn])
                weight = self.adaptation * float(F.cosine_similarity(adapted, model, dim=0))
            both = ((model, 1.0), (adapted, weight))
            gradient = self.slope(network, both, x[drawn], values)
            values = (values - self.rate * gradient.nan_to_num().sign()).clamp(0, 1)
        return {"trigger": values}

    def unlearned(
        self, network: Network, model: torch.Tensor, x: torch.Tensor, y: torch.Tensor
    ) -> torch.Tensor:
        """The model (d,) after steps towards the true labels y (m,) of triggered rows x."""
        params, weight = model.unsqueeze(0), torch.full((1, len(y)), 1 / len(y))
        for _ in range(self.adapt_steps):
            slope = network.gradients(params, x.unsqueeze(0), y.unsqueeze(0), weight)
            params = params - self.adapt_rate * slope
        return params[0]

    def slope(
        self,
        network: Network,
        models: tuple[tuple[torch.Tensor, float], ...],
        x: torch.Tensor,
        values: torch.Tensor,
    ) -> torch.Tensor:
        """Gradient by the trigger of the weighted losses towards the target class.

        Args:
            network: of the models.
            models: parameters (d,) and weight of each; those of weight 0 are left out.
            x: rows (m, *features) without the trigger.
            values: of the trigger.
        """
        leaf = values.detach().requires_grad_()
        rows = self.stamp(x, leaf).unsqueeze(0)
        target = torch.full((len(x),), self.target_class)
        losses = [
            weight * F.cross_entropy(network.logits(params.unsqueeze(0), rows)[0], target)
            for params, weight in models
            if weight
        ]
        (gradient,) = torch.autograd.grad(torch.stack(losses).sum(), leaf)
        return gradient

    def stamp(self, x: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """Rows with a learned trigger; a new tensor."""
        out = x.clone()
        if x.dim() == 2:
            out[:, list(self.columns)] = values
        else:
            out[:, :, -self.patch :, -self.patch :] = values
        return out

    def _written(self, x: torch.Tensor) -> torch.Tensor:
        """The part of rows that the trigger writes: (m, *shape of the trigger)."""
        if x.dim() == 2:
            return x[:, list(self.columns)]
        return x[:, :, -self.patch :, -self.patch :]

    def current_trigger(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Rows with the trigger of the last round; a new tensor."""
        return self.stamp(x, memory["trigger"])

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Trigger and relabel a random share of the rows, with the trigger of the round."""
        chosen = self.chosen(y, view.rng)
        x, y = x.clone(), y.clone()
        x[chosen] = self.stamp(x[chosen], view.memory["trigger"])
        y[chosen] = self.target_class
        return x, y
