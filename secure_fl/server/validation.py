"""A validator: it measures a model on its own rows, and signs what it found."""

from __future__ import annotations

from collections.abc import Sequence
from statistics import median
from time import process_time
from typing import NamedTuple

import torch
import torch.nn.functional as F

from ledger.members.keys import Signature
from ledger.protocol.roles import SignedAttestation, ValidatorKey
from secure_fl.data import Split
from secure_fl.errors import InputError
from secure_fl.federation import Federation
from secure_fl.models import losses


class Verdict(NamedTuple):
    """One validator's measurements; a model with NaN parameters measures as worthless.

    Of rows with several labels each label is a question of two answers, at even odds: accuracy is
    over all of them, the loss is `secure_fl.models.losses`, F1 the mean over the labels.
    """

    accuracy: float
    loss: float
    f1: float


class Validator:
    """One validator of a federation.

    Args:
        rows: that it tests on, its own part of the holdout.
        key: its ledger key; None where nothing is signed.

    Attributes:
        cpu_ms: CPU milliseconds spent on signing so far.
    """

    def __init__(self, rows: Split, key: ValidatorKey | None = None) -> None:
        self._rows = rows
        self._key = key
        self.cpu_ms = 0.0

    def judge(self, federation: Federation, model: torch.Tensor, number: int = 0) -> Verdict:
        """Test a model (d,) of a federation.

        Args:
            federation: whose model it is.
            model: of parameters.
            number: round that proposed it; 0 the initial model, one above the last the final one.
        """
        logits, y = federation.logits(model, self._rows.x), self._rows.y
        if federation.data.multilabel:
            return _over_labels(logits, y)
        predicted = logits.argmax(dim=1)
        return Verdict(
            accuracy=float((predicted == y).double().mean()),
            loss=float(F.cross_entropy(logits.double(), y)),
            f1=f1(predicted, y, federation.data.classes),
        )

    def attest(self, number: int, model: bytes, verdict: Verdict) -> SignedAttestation:
        """Sign what it measured in a round, on the model with this hash (32 bytes).

        Raises:
            InputError: it has no key.
        """
        key = self._own_key()
        start = process_time()
        signed = key.attestation(number, model, *verdict)
        self.cpu_ms += 1000 * (process_time() - start)
        return signed

    def head(self, number: int, block_hash: bytes) -> Signature:
        """Sign the last block of an exported chain.

        Raises:
            InputError: it has no key.
        """
        return self._own_key().head(number, block_hash)

    def _own_key(self) -> ValidatorKey:
        if self._key is None:
            raise InputError("a validator without a key signs nothing")
        return self._key


def validate(federation: Federation, model: torch.Tensor) -> list[Verdict]:
    """Test a model (d,) with every validator, each on its own part of the holdout."""
    return [Validator(rows).judge(federation, model) for rows in federation.data.validators]


def medians(verdicts: Sequence[Verdict]) -> Verdict:
    """Median of each measurement over the validators."""
    return Verdict(*(float(median(column)) for column in zip(*verdicts, strict=True)))


def _over_labels(logits: torch.Tensor, y: torch.Tensor) -> Verdict:
    """Measure logits (m, L) against labels (m, L) of 0 and 1."""
    called = (logits > 0).long()
    each = [f1(called[:, i], y[:, i], 2) for i in range(y.shape[1])]
    loss = losses(logits.double().unsqueeze(0), y.unsqueeze(0)).mean()
    return Verdict(float((called == y).double().mean()), float(loss), sum(each) / len(each))


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
