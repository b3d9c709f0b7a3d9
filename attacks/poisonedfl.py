"""PoisonedFL."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from attacks.base import Attack, AttackView, require
from attacks.memory import Memory
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class PoisonedFL(Attack):
    """Push every coordinate the same way in all rounds; adapt the length to what comes through.

    s is a random vector of signs, drawn once. With g the last combined update and u what was sent
    before, v = c ||g|| (k * s) / ||k||, k = |g - u ||g|| / ||u|| |, coordinate by coordinate: where
    the last update differs from what was sent, others have a say. Every `window` rounds the model's
    way since is compared with s: unless it agrees with s in more coordinates than chance allows
    at 1 %, the defence is filtering, and c shrinks by `shrink`, to 0.5 at least. In its first round
    each malicious hospital sends the last honest length it knows, its own, along s. Needs no data
    and no other update. Ref: Xie, Fang, Gong, CVPR 2025 (arXiv 2404.15611).

    Attributes:
        scale: c at first, > 0.
        window: rounds between two tests, >= 1; 50 in the authors' code.
        shrink: in (0, 1); 0.7 in the authors' code.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("model", "previous")
    scale: float = 8.0
    window: int = 50
    shrink: float = 0.7

    def __post_init__(self) -> None:
        require(self.scale > 0, "scale", "> 0", self.scale)
        require(self.window >= 1, "window", ">= 1", self.window)
        require(0 < self.shrink < 1, "shrink", "in (0, 1)", self.shrink)

    def init(self, view: AttackView) -> Memory:
        """Signs, and the model from which the way is counted."""
        model = view.global_model.double()
        signs = torch.randint(2, (len(model),), generator=view.rng).double() * 2 - 1
        return {
            "signs": signs,
            "sent": torch.zeros_like(model),
            "from": model,
            "scale": float(self.scale),
            "rounds": 0,
        }

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        """The same vector for every malicious hospital."""
        memory, signs = dict(view.memory), view.memory["signs"]
        last, before = view.previous_update.double(), view.memory["sent"]
        length = float(last.norm())
        if not length or not bool(before.any()):
            vector = normalize(signs, dim=0) * own.double().norm(dim=1).mean()
        else:
            if memory["rounds"] % self.window == 0:
                memory |= self._tested(view)
            magnitude = (last - before * (length / before.norm())).abs()
            vector = memory["scale"] * length * normalize(magnitude * signs, dim=0)
        memory["sent"], memory["rounds"] = vector, memory["rounds"] + 1
        return vector.to(own.dtype).repeat(len(own), 1), memory

    def _tested(self, view: AttackView) -> dict[str, object]:
        """The scale after the test of the model's way, and where the next way begins."""
        model = view.global_model.double()
        way, signs = model - view.memory["from"], view.memory["signs"]
        agree = int((way.sign() == signs).sum())
        count = len(signs)
        bound = count / 2 + NormalDist().inv_cdf(0.99) * math.sqrt(count) / 2
        scale = view.memory["scale"]
        if agree < bound:
            scale = max(scale * self.shrink, min(0.5, scale))
        return {"scale": scale, "from": model}
