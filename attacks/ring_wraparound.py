"""Wrapping around the ring."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.base import Attack, AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class RingWraparound(Attack):
    """Share coordinates of 2^31 steps, of which four have squares that add up to 0 modulo 2^64.

    In a bare ring a bound on norms sees nothing of them. Here shares are read modulo the width that
    a rule's `max_abs` gives, so that no share stands for a value outside; a rule without a bound
    takes them as they are. In the clear (`plain`) there is no ring and nothing happens.

    Attributes:
        quadruples: a quarter of how many coordinates, the first ones, are replaced, >= 1.
    """

    quadruples: int = 1

    def __post_init__(self) -> None:
        require(self.quadruples >= 1, "quadruples", ">= 1", self.quadruples)

    def encode(self, integers: torch.Tensor, bits: int, view: AttackView) -> torch.Tensor:
        """The update with its first coordinates replaced, as many fours as there are."""
        count = 4 * min(self.quadruples, len(integers) // 4)
        shared = integers.clone()
        shared[:count] = 2**31
        return shared
