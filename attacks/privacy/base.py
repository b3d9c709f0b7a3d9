"""What an attack on privacy is given, and the two questions that one can ask."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

import torch

from attacks.view import Network


@dataclass(frozen=True, eq=False)
class Shadows:
    """The same training repeated by the attacker, on rows of its choice.

    Attributes:
        changes: float (s, d), what each repetition opened.
        held: bool (s, m), whether it trained on row j of those that are asked for.
    """

    changes: torch.Tensor
    held: torch.Tensor


@dataclass(frozen=True, eq=False)
class Opened:
    """What somebody sees who takes part, or reads what is opened.

    Attributes:
        network: of the federation.
        start: float (d,), a model that was public.
        change: float (d,), what came to it: one hospital's update, the aggregate of all, or the way
            to the final model.
        rng: the attacker's source of randomness.
        shadows: repetitions, for attacks that compare with them.
    """

    network: Network
    start: torch.Tensor
    change: torch.Tensor
    rng: torch.Generator
    shadows: Shadows | None = None


@dataclass(frozen=True)
class PrivacyAttack:
    """Base of all attacks on privacy; a frozen dataclass, its fields are its parameters."""


@dataclass(frozen=True)
class Reconstruction(PrivacyAttack, ABC):
    """Asks which rows it was trained on."""

    @abstractmethod
    def reconstruct(self, opened: Opened, rows: int) -> torch.Tensor:
        """Rows in [0, 1], float32 (rows, *features), in no order.

        Args:
            opened: what is seen.
            rows: how many are wanted; how many there were is taken to be known.
        """


@dataclass(frozen=True)
class Membership(PrivacyAttack, ABC):
    """Asks whether rows in hand were trained on."""

    @abstractmethod
    def scores(self, opened: Opened, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """Float64 (m,): the higher, the likelier row i of x (m, *features), y (m,) was."""
