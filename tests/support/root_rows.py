"""A tiny model, and rows of a public root that it learns in moments."""

from __future__ import annotations

import torch

from secure_fl.data import Split
from secure_fl.hospital.options import TrainOptions
from secure_fl.models import MLP

NET = MLP((6,), 2, (8,))
OPTIONS = TrainOptions(epochs=2, lr=0.01)


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def rows(m: int = 60, seed: int = 0) -> Split:
    """Unbalanced rows of which the first column decides the class."""
    x = torch.rand(m, 6, generator=generator(seed))
    return Split(x, (x[:, 0] > 0.75).long())


def start() -> torch.Tensor:
    return NET.init(generator(3))
