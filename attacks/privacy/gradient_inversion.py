"""Gradient inversion."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F

from attacks.parameters import require
from attacks.privacy.base import Opened, Reconstruction
from attacks.privacy.registry import privacy_attack
from attacks.view import Network

# Log-odds of a first label.
_SURE = 10.0


@privacy_attack
@dataclass(frozen=True)
class GradientInversion(Reconstruction):
    """Find rows whose gradient points where the change went, starting from what one layer betrays.

    Where the first layer is fully connected, a unit's weights and bias change by (sum of e_i x_i)
    and (sum of e_i), e_i what reaches the unit from row i: their ratio is a mean of the rows that
    the unit sees, and of one row the row itself. Rows start there, taken one after another where
    they differ most (of other networks: at random), then follow, with labels as free probabilities,
    1 - cos(gradient, -change) by Adam on signed gradients within [0, 1]. The label of a single row
    starts where the last bias rose; of several rows all labels are as likely. The start counts
    among the candidates: what is returned has the least such distance. One step of plain SGD is
    assumed; more of them, or Adam's, are a blurred gradient.
    After Geiping, Bauermeister, Droege, Moeller, NeurIPS 2020; Zhu, Liu, Han, NeurIPS 2019
    (labels); Zhao, Mopuri, Bilen, 2020 (iDLG, the first label); Phong, Aono, Hayashi, Wang,
    Moriai, TIFS 2018 (ratio).

    Attributes:
        steps: of the search, >= 0.
        rate: of Adam, > 0.
    """

    steps: int = 200
    rate: float = 0.02

    def __post_init__(self) -> None:
        require(self.steps >= 0, "steps", ">= 0", self.steps)
        require(self.rate > 0, "rate", "> 0", self.rate)

    def reconstruct(self, opened: Opened, rows: int) -> torch.Tensor:
        """See `Reconstruction`."""
        require(rows >= 1, "rows", ">= 1", rows)
        network, shape = opened.network, opened.network.feature_shape
        target = F.normalize(-opened.change.detach().float(), dim=0)
        x = torch.rand(rows, *shape, generator=opened.rng, dtype=torch.float32)
        betrayed = ratios(network, opened.change)
        if len(betrayed):
            told = spread(betrayed, rows)
            x[: len(told)] = told.view(-1, *shape)
        labels = first_labels(network, opened.change, rows)
        x, labels = x.requires_grad_(), labels.requires_grad_()
        optimiser = torch.optim.Adam([x, labels], lr=self.rate)
        best, least = x.detach().clone(), math.inf
        for step in range(self.steps + 1):
            distance = 1 - F.cosine_similarity(
                gradient_of(network, opened.start, x, labels.softmax(dim=1)), target, dim=0
            )
            reached = float(distance.detach())
            if reached < least:
                best, least = x.detach().clone(), reached
            if step == self.steps or not distance.requires_grad:
                break
            optimiser.zero_grad()
            distance.backward()
            x.grad = None if x.grad is None else x.grad.nan_to_num().sign()
            optimiser.step()
            with torch.no_grad():
                x.clamp_(0, 1)
        return best


def gradient_of(
    network: Network, start: torch.Tensor, x: torch.Tensor, labels: torch.Tensor
) -> torch.Tensor:
    """Gradient (d,) of the mean cross-entropy at `start`, itself differentiable.

    Args:
        network: with parameters (d,).
        start: float (d,).
        x: float (m, *features).
        labels: probabilities (m, classes).
    """
    params = start.detach().float().unsqueeze(0).requires_grad_()
    loss = F.cross_entropy(network.logits(params, x.unsqueeze(0))[0], labels)
    (found,) = torch.autograd.grad(loss, params, create_graph=True)
    return found[0]


def first_labels(network: Network, change: torch.Tensor, rows: int) -> torch.Tensor:
    """Log-odds (rows, classes) to start from: of a single row, those that the last bias betrays.

    A step moves that bias by a multiple of (sum of y_i - p_i): of one row it rises in its class
    alone. A wrong first label would turn the gradient around, and the search away from the row.
    """
    start = torch.zeros(rows, network.classes)
    bias = change[-network.classes :].detach().float()
    if rows == 1 and network.shapes[-1] == (network.classes,):
        start[0, int(bias.argmax())] = _SURE
    return start


def ratios(network: Network, change: torch.Tensor) -> torch.Tensor:
    """What each unit of a fully connected first layer says of a row, (units, features).

    Units whose bias did not change say nothing, nor do those whose ratio is no row in [0, 1];
    of another first layer nobody says anything.
    """
    first, second, features = *network.shapes[:2], math.prod(network.feature_shape)
    if len(first) != 2 or first[0] != features or second != (first[1],):
        return torch.empty(0, features)
    weight = change[: math.prod(first)].view(first).double()
    bias = change[math.prod(first) : math.prod(first) + first[1]].double()
    order = bias.abs().argsort(descending=True)
    order = order[bias[order].abs() > 1e-12]
    found = (weight[:, order] / bias[order]).T
    inside = ((found > -0.01) & (found < 1.01)).all(dim=1)
    return found[inside].clamp(0, 1).float()


def spread(found: torch.Tensor, rows: int) -> torch.Tensor:
    """Of candidates (k, features) at most `rows`: the first, then always the farthest from all."""
    chosen = [0]
    away = (found - found[0]).norm(dim=1)
    while len(chosen) < min(rows, len(found)):
        chosen.append(int(away.argmax()))
        away = away.minimum((found - found[chosen[-1]]).norm(dim=1))
    return found[chosen]
