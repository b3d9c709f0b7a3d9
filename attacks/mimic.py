"""Mimic."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch.nn.functional import normalize

from attacks.base import Attack, AttackView, in_sight, require
from attacks.memory import Memory
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class Mimic(Attack):
    """Repeat one honest hospital's update, so that its data count too much and others' too little.

    Without a victim given it is the honest hospital furthest along the direction in which honest
    updates vary most: argmax_i <z, u_i - m>, where z follows Oja's rule over the rounds,
    z <- normalised((t z + sum_i (u_i - m) <u_i - m, z>) / (t + 1)), and m is the running mean.
    Ref: Karimireddy, He, Jaggi, ICLR 2022, who fix the victim after a warm-up; here it is chosen
    anew each round, since hospitals may be suspended. ByzFL's `Mimic`
    repeats a fixed row: `victim=0` is its default.

    Attributes:
        victim: which of the honest hospitals in sight, modulo their number; None: see above.
    """

    knowledge: ClassVar[str] = "omniscient"
    victim: int | None = None

    def __post_init__(self) -> None:
        if self.victim is not None:
            require(self.victim >= 0, "victim", ">= 0", self.victim)

    def init(self, view: AttackView) -> Memory:
        """No round seen."""
        return {"rounds": 0}

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        """The same honest row for every malicious hospital."""
        seen = in_sight(honest, own)
        if self.victim is not None:
            return seen[self.victim % len(seen)].repeat(len(own), 1), view.memory
        mean, direction, rounds = self._followed(seen.double(), view)
        chosen = seen[((seen.double() - mean) @ direction).argmax()]
        memory = {"rounds": rounds, "mean": mean, "direction": direction}
        return chosen.repeat(len(own), 1), memory

    def _followed(
        self, seen: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor, int]:
        """Running mean (d,), direction (d,) and number of rounds, this one included."""
        before = view.memory["rounds"]
        drawn = torch.randn(seen.shape[1], generator=view.rng, dtype=seen.dtype)
        mean = view.memory.get("mean", torch.zeros_like(drawn))
        direction = view.memory.get("direction", normalize(drawn, dim=0))
        mean = (before * mean + seen.mean(dim=0)) / (before + 1)
        away = seen - mean
        grown = before * direction + normalize(away.T @ (away @ direction), dim=0)
        return mean, normalize(grown, dim=0) if bool(grown.any()) else direction, before + 1
