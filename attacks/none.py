"""No attack: the clean baseline."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from attacks.base import Attack
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class NoAttack(Attack):
    """No attack: the hospitals named malicious behave like all others."""

    objective: ClassVar[str] = "none"
