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
        verdicts.append(
            Verdict(
                accuracy=float((predicted == split.y).double().mean()),
                loss=float(F.cross_entropy(logits.double(), split.y)),
                f1=f1(predicted, split.y, federation.data.classes),
            )
        )
    return verdicts


def medians(verdicts: Sequence[Verdict]) -> Verdict:
    """Median of each measurement over the validators."""
    return Verdict(*(float(median(column)) for column in zip(*verdicts, strict=True)))


def f1(predicted: torch.Tensor, real: torch.Tensor, classes: int) -> float:
    """F1 of class 1 of two; of more the mean over those that are called or real.

    Args:
        predicted, real: int64 (m,).
        classes: how many there are.
    """
    measured = [1] if classes == 2 else torch.cat([predicted, real]).unique().tolist()
    scores = []
    for label in measured:
        hits = int(((predicted == label) & (real == label)).sum())
        called, there = int((predicted == label).sum()), int((real == label).sum())
        scores.append(2 * hits / (called + there) if called + there else 0.0)
    return sum(scores) / len(scores)
