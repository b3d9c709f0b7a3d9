"""Likelihood-ratio membership inference."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from attacks.parameters import require
from attacks.privacy.base import Membership, Opened
from attacks.privacy.registry import privacy_attack
from attacks.view import Network


@privacy_attack
@dataclass(frozen=True)
class LikelihoodRatio(Membership):
    """Take rows for members that the model is surer of than shadow models trained without them.

    The score of a row is (c - m) / s: c the log-odds of its label under start + change, m their
    mean under the shadows that did not train on it, s one deviation for all rows, since a few
    shadows do not tell a row's own. That is the offline variant: no shadow is trained for a row.
    Ref: Carlini, Chien, Nasr, Song, Terzis, Tramer, IEEE S&P 2022 (LiRA, offline, global variance).
    """

    def scores(self, opened: Opened, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """See `Membership`.

        Raises:
            ValueError: no shadows, or not two of them without each row.
        """
        shadows = opened.shadows
        if shadows is None:
            raise ValueError("likelihood_ratio must be given shadows; got none")
        without = ~shadows.held  # (s, m)
        least = int(without.sum(dim=0).min())
        require(least >= 2, "shadows", "at least two without each row", least)
        models = torch.cat([opened.change.unsqueeze(0), shadows.changes]) + opened.start
        own, *others = confidence(opened.network, models, x, y)
        seen = torch.stack(others)
        count = without.sum(dim=0)
        mean = (seen * without).sum(dim=0) / count
        spread = ((seen - mean).square() * without).sum() / (count - 1).sum()
        return (own - mean) / spread.sqrt().clamp(min=torch.finfo(torch.float64).tiny)


@torch.no_grad()
def confidence(
    network: Network, models: torch.Tensor, x: torch.Tensor, y: torch.Tensor
) -> torch.Tensor:
    """Log-odds of each row's label against all others under models (k, d): float64 (k, m)."""
    found = []
    for model in models.float():
        logits = network.logits(model.unsqueeze(0), x.unsqueeze(0))[0].double()
        own = logits.gather(1, y.unsqueeze(1))[:, 0]
        others = logits.scatter(1, y.unsqueeze(1), -torch.inf).logsumexp(dim=1)
        found.append(own - others)
    return torch.stack(found)
