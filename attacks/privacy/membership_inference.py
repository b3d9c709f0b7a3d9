"""Membership inference."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F

from attacks.privacy.base import Membership, Opened
from attacks.privacy.registry import privacy_attack
from attacks.view import Network


@privacy_attack
@dataclass(frozen=True)
class MembershipInference(Membership):
    """Take rows for members whose loss is low, or has fallen most.

    The score of a row is -loss under start + change; calibrated, loss under the start minus loss
    under start + change, so that rows that are easy for any model count no more than others. Ref:
    Yeom, Giacomelli, Fredrikson, Jha, CSF 2018 (threshold on the loss); Watson, Guo, Cormode,
    Sablayrolles, ICLR 2022 (calibration by difficulty, here with the public start as reference).

    Attributes:
        calibrated: whether what the start makes of a row counts.
    """

    calibrated: bool = False

    def scores(self, opened: Opened, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See `Membership`."""
        after = -losses(opened.network, opened.start + opened.change, x, y)
        return after + losses(opened.network, opened.start, x, y) if self.calibrated else after


@torch.no_grad()
def losses(network: Network, model: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Cross-entropy of each row under one model (d,): float64 (m,)."""
    logits = network.logits(model.float().unsqueeze(0), x.unsqueeze(0))[0]
    return F.cross_entropy(logits.double(), y, reduction="none")
