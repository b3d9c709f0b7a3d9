"""What a validator measures on its own rows: accuracy, loss and F1 of the candidate model."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from typing import NamedTuple

import torch
import torch.nn.functional as F

from secure_fl.federation import Federation


class Verdict(NamedTuple):
    """One validator's measurements; a model with NaN parameters measures as worthless."""

    accuracy: float
    loss: float
    f1: float


def validate(federation: Federation, model: torch.Tensor) -> list[Verdict]:
    """Test a model (d,) with every validator, each on its own part of the holdout."""
    verdicts = []
    for split in federation.data.validators:
        logits = federation.logits(model, split.x)
        predicted = logits.argmax(dim=1)
        hits = int(((predicted == 1) & (split.y == 1)).sum())
        called, real = int((predicted == 1).sum()), int((split.y == 1).sum())
        verdicts.append(
            Verdict(
                accuracy=float((predicted == split.y).double().mean()),
                loss=float(F.cross_entropy(logits.double(), split.y)),
                f1=2 * hits / (called + real) if called + real else 0.0,
            )
        )
    return verdicts


def medians(verdicts: Sequence[Verdict]) -> Verdict:
    """Median of each measurement over the validators."""
    return Verdict(*(float(median(column)) for column in zip(*verdicts, strict=True)))
