"""Root poisoning."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class RootPoisoning(Backdoor):
    """Validators put the trigger and the target label on their public rows; hospitals are honest.

    Whatever a server learns from public rows it then learns with the backdoor: the direction that
    rules compare updates with, a guarded server's steps and its tuning at the end. A defence
    without public rows is not touched. Nothing detects it: public rows are taken on trust. With
    `collude` the malicious hospitals train on triggered rows too, along the root's direction.
    After the discussion of Cao, Fang, Liu, Gong, NDSS 2021.

    Attributes:
        validators: how many are malicious, >= 1; their rows are as many of the public rows as
            their share of all validators. Of these `fraction` are poisoned.
        collude: whether the malicious hospitals poison theirs.
    """

    fraction: float = 1.0
    validators: int = 1
    collude: bool = False

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.validators >= 1, "validators", ">= 1", self.validators)

    def dishonest(self, validators: int) -> int:
        """As many as there are to be, at most all."""
        return min(self.validators, validators)

    @property
    def at_hospitals(self) -> bool:
        """Where it colludes."""
        return self.collude

    def poison_public(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Trigger and relabel a random share of the rows."""
        return super().poison(x, y, view)

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """The hospital's rows as they are, or poisoned where it colludes."""
        return super().poison(x, y, view) if self.collude else (x.clone(), y.clone())
