"""Model replacement."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.backdoor import Backdoor
from attacks.base import AttackView, require
from attacks.registry import attack


@attack
@dataclass(frozen=True)
class ModelReplacement(Backdoor):
    """Scale a backdoored update so that the average becomes the attackers' model: v = (n/f) u.

    When honest updates nearly cancel (late rounds), the mean of n updates of which f are these
    equals the mean backdoored update, so the global model is replaced by the backdoored one.
    Ref: Bagdasaryan, Veit, Hua, Estrin, Shmatikov, AISTATS 2020 (there for one attacker), for f
    colluding hospitals.

    Attributes:
        boost: the factor; default n/f.
    """

    boost: float | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.boost is None or self.boost > 0, "boost", "> 0", self.boost)

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Scale each row."""
        default = view.num_hospitals / view.num_malicious
        return own * (self.boost if self.boost is not None else default)
