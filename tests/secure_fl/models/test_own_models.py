"""Models of one's own, refused by name before anything is trained."""

from __future__ import annotations

from typing import Any

import pytest
import torch

import secure_fl
from secure_fl.errors import InputError
from secure_fl.extensions import Extensions
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model
from secure_fl.models.registry import build


@secure_fl.model
class Narrow(MLP):
    """One hidden layer of four units."""

    def __init__(self, feature_shape: tuple[int, ...], classes: int) -> None:
        super().__init__(feature_shape, classes, (4,))


@secure_fl.model
class Wide(Narrow):
    """A logit too many."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        logits = super().forward(tensors, x)
        return torch.cat([logits, logits[..., :1]], dim=-1)


@secure_fl.model
class Bare(Model):
    """Without shapes."""

    def __init__(self, feature_shape: tuple[int, ...], classes: int) -> None:
        self.feature_shape, self.classes = feature_shape, classes

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return x


@secure_fl.model
class Failing(Narrow):
    """Looks for what is not there."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        raise KeyError("weights")


@secure_fl.model
class Mixing(Narrow):
    """Centres over the rows of a batch."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return super().forward(tensors, x - x.mean(1, keepdim=True))


@secure_fl.model
class Doubled(Narrow):
    """Starts in float64."""

    def init(self, generator: torch.Generator) -> torch.Tensor:
        return super().init(generator).double()


@secure_fl.model
class Cut(Narrow):
    """Cannot be differentiated."""

    gradients = Model.gradients  # by autograd; an MLP's own are closed forms

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return super().forward(tensors, x).detach()


def built(made: type[Model]) -> Model:
    name = f"{made.__module__}:{made.__name__}"
    return build(name, (5,), 3, extensions=Extensions({name: made}))


def test_a_sound_model_is_built() -> None:
    assert isinstance(built(Narrow), Narrow)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (Wide, r"model Wide must map 3 rows to logits \(3, 3\); got \(3, 4\)"),
        (Bare, r"model Bare on rows \(5,\): AttributeError: .* no attribute 'shapes'"),
        (Failing, r"model Failing on rows \(5,\): KeyError: 'weights'"),
        (Mixing, "model Mixing must treat each row by itself"),
        (Doubled, r"must start with float32 parameters of shape \(39,\); got float64"),
        (Cut, "model Cut cannot be differentiated"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(made: type[Model], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        built(made)
