"""Gaming the reputations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

import torch

from attacks.base import Attack, AttackView, require
from attacks.memory import Memory
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class ReputationGaming(Attack):
    """Earn trust, then strike: each hospital sends -strength times its update while it is trusted.

    A member strikes by its own reputation r alone, and not in the first `wait` rounds. `sleeper`:
    once r has reached `high`, for ever. `on_off`: from when r reaches `high` until it falls below
    `low`, and again. `floor`: whenever r is at least `low` + `margin`, so that one bad round leaves
    it above the floor. Otherwise it sends what it trained, on clean rows. Own attack, against
    reputation ledgers.

    Attributes:
        mode: when to strike.
        wait: rounds in which nobody strikes, >= 0: reputations may begin at their best.
        high, low: reputations, 0 <= low <= high <= 1.
        margin: >= 0, what a round of striking may cost.
        strength: > 0.
    """

    knowledge: ClassVar[tuple[str, ...]] = ("reputations",)
    mode: Literal["sleeper", "on_off", "floor"] = "on_off"
    wait: int = 3
    high: float = 0.9
    low: float = 0.6
    margin: float = 0.1
    strength: float = 1.0

    def __post_init__(self) -> None:
        require(self.mode in ("sleeper", "on_off", "floor"), "mode", "known", self.mode)
        require(self.wait >= 0, "wait", ">= 0", self.wait)
        require(0 <= self.low <= 1, "low", "in [0, 1]", self.low)
        require(self.low <= self.high <= 1, "high", f"from low, {self.low}, to 1", self.high)
        require(self.margin >= 0, "margin", ">= 0", self.margin)
        require(self.strength > 0, "strength", "> 0", self.strength)

    def init(self, view: AttackView) -> Memory:
        """Nobody strikes yet; one flag for each hospital of the federation."""
        return {"striking": torch.zeros(len(view.reputation), dtype=torch.bool)}

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        """Flip the rows of those that strike."""
        if view.round < self.wait:
            return own.clone(), view.memory
        seats = list(view.members)
        striking = view.memory["striking"].clone()
        striking[seats] = self.strikes(view.reputation[seats], striking[seats])
        flipped = torch.where(striking[seats].unsqueeze(1), -self.strength * own, own)
        return flipped, {"striking": striking}

    def strikes(self, reputation: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
        """Who strikes, bool (f,), from reputations (f,) and who struck in the round before."""
        if self.mode == "floor":
            return reputation >= self.low + self.margin
        if self.mode == "sleeper":
            return before | (reputation >= self.high)
        return torch.where(before, reputation >= self.low, reputation >= self.high)
