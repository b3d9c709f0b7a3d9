"""A run's rule in the clear, for attacks that know it: what it would make of given updates."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from secure_fl.aggregation import Pipeline
from secure_fl.aggregation.running import run
from secure_fl.aggregation.surroundings import Surroundings, public_seed
from secure_fl.aggregation.worlds import plain


@dataclass(frozen=True)
class ClearRule:
    """A rule in one round, in floating point.

    Attributes:
        rule: the pipeline.
        states: of its stages, as of the round's beginning.
        number: of the round, from 1.
        last: float64 (d,), the update opened before; None in the first round.
        reputation: float64 (n,).
        samples: float64 (n,).
        reference: float64 (d,), a root direction, or None.
        minimum: fewest rows that are combined.
        model: float (d,), the global model.
    """

    rule: Pipeline
    states: tuple[Any, ...]
    number: int
    last: torch.Tensor | None
    reputation: torch.Tensor
    samples: torch.Tensor
    reference: torch.Tensor | None
    minimum: int
    model: torch.Tensor | None = None

    def combine(
        self, updates: torch.Tensor, seats: Sequence[int]
    ) -> tuple[torch.Tensor, torch.Tensor, tuple[Any, ...]]:
        """Combine the updates (m, d) of some seats, ascending; those out of range are left out.

        Randomness that follows from commitments is other than the round's own.

        Returns:
            The update float64 (d,), bool (n,) of all seats: submitted and not rejected, and the
            stages' states after the round.
        """
        edge = self.rule.limit - 2.0**-17  # as `secure_fl.hospital.sharing.refusal`
        fits = (updates.isfinite() & (updates.abs() < edge)).all(dim=1).tolist()
        taken = [seat for seat, fit in zip(seats, fits, strict=True) if fit]
        rows = updates[torch.tensor(fits, dtype=torch.bool)].double()
        return run(
            self.rule,
            self.states,
            plain.PlainOps(),
            plain.encode(rows) if taken else None,
            taken,
            self.reputation,
            self.samples,
            updates.shape[1],
            self.reference,
            self.minimum,
            Surroundings(self.number, public_seed(self.number, {}), self.last, self.model),
        )
