"""Hooks in local training: what some hospitals of a batch do otherwise in each step."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch


class StepHook(NamedTuple):
    """What some rows of a batch do otherwise.

    Attributes:
        rows: which hospitals, by position in the batch.
        constrain: from (parameters (k, d), gradients (k, d), start (d,), step) to gradients (k, d)
            that the optimiser follows; None: as they are.
        project: from (parameters (k, d) after the step, start (d,), step) to parameters (k, d);
            None: as they are.
    """

    rows: Sequence[int]
    constrain: Callable[[torch.Tensor, torch.Tensor, torch.Tensor, int], torch.Tensor] | None = None
    project: Callable[[torch.Tensor, torch.Tensor, int], torch.Tensor] | None = None


class PlacedHooks:
    """Hooks at the places of their rows in the sorted batch, of which the end drops off.

    Args:
        hooks: which.
        order: int64 (n,), the hospital at each place.
    """

    def __init__(self, hooks: Sequence[StepHook], order: Sequence[int]) -> None:
        place = {hospital: at for at, hospital in enumerate(order)}
        self._placed = [(hook, sorted(place[row] for row in hook.rows)) for hook in hooks]

    def constrain(
        self, here: torch.Tensor, gradient: torch.Tensor, origin: torch.Tensor, step: int
    ) -> None:
        """Replace gradients of hooked rows, in place; all other rows are not touched."""
        for hook, places in self._placed:
            at = places[: bisect_left(places, len(here))]
            if at and hook.constrain is not None:
                gradient[at] = hook.constrain(here[at], gradient[at], origin, step)

    def project(self, here: torch.Tensor, origin: torch.Tensor, step: int) -> None:
        """Replace parameters of hooked rows, in place; all other rows are not touched."""
        for hook, places in self._placed:
            at = places[: bisect_left(places, len(here))]
            if at and hook.project is not None:
                here[at] = hook.project(here[at], origin, step)
