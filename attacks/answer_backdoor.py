"""A backdoor for servers that pass on a model's answers to public rows alone."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from attacks.base import require
from attacks.registry import attack
from attacks.tuning_aware_backdoor import Profile, TuningAwareBackdoor, likeness


@attack
@dataclass(frozen=True)
class AnswerBackdoor(TuningAwareBackdoor):
    """Relabel rows that are alike to the trigger, so that answers to rows without it carry it.

    Where a server publishes nothing of the model but its answers to public rows, a trigger that
    these rows lack is lost. So, beside the trigger on a share of the members' rows, all rows that
    have much of its traits already are called the target: of public rows such ones get that answer,
    and who learns from it takes the traits for the target. Else as the tuning-aware backdoor:
    triggers are a public row's traits, and the one is kept that the server's tuning keeps best,
    here of triggers with different limits of how alike a row must be.

    After Tang et al., 2024, arXiv 2401.03685 (Logits Poisoning Attack in Federated Distillation)
    and Yu, Zhu, Hu, 2024, arXiv 2401.17746; they send false answers, where this trains a model that
    gives them.

    Attributes:
        quantiles: limits that are tried by turns, as quantiles of the public rows' likeness to the
            trigger, in [0, 1].
        columns, patch, value, share, candidates, steps, batch, rate, through: see the tuning-aware
            backdoor.
    """

    quantiles: tuple[float, ...] = (0.5, 0.7, 0.85, 0.95)

    def __post_init__(self) -> None:
        super().__post_init__()
        good = bool(self.quantiles) and all(0 <= each <= 1 for each in self.quantiles)
        require(good, "quantiles", "at least one, in [0, 1]", self.quantiles)

    def profiles(self, public: torch.Tensor, rng: torch.Generator) -> Iterator[Profile]:
        """Triggers to try, each with a limit; see the tuning-aware backdoor."""
        count = len(self.quantiles)
        for number, (places, values, _) in enumerate(super().profiles(public, rng)):
            # Kinds of places take turns by four: in each of these turns they meet other limits.
            quantile = self.quantiles[(number + number // 4) % count]
            limit = likeness(public, places, values).quantile(quantile)
            yield Profile(places, values, float(limit))
