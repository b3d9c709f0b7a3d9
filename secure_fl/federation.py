"""The parties of an experiment before any attack."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from secure_fl import models
from secure_fl.data import FederatedData


@dataclass(frozen=True)
class Federation:
    """What every cell of a job shares.

    Attributes:
        data: splits of hospitals, validators and test.
        model: the network.
        initial: float32 (d,), the model before round 1.
        data_sha256: hash of the data set as loaded (`data_hash`).
        rows: number of rows that each hospital has, before classes were balanced.
    """

    data: FederatedData
    model: models.Model
    initial: torch.Tensor
    data_sha256: str
    rows: tuple[int, ...]

    @property
    def hospitals(self) -> int:
        """Number of hospitals."""
        return len(self.data.hospitals)

    def logits(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits (m, classes) of one model (d,) on rows (m, *features)."""
        with torch.no_grad():
            return self.model.logits(params.float().unsqueeze(0), x.unsqueeze(0))[0]
