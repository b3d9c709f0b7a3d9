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
from secure_fl.models.probe import probe
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
class Meeting(Narrow):
    """Centres over the networks beside it."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return super().forward(tensors, x - x.mean(0, keepdim=True))


@secure_fl.model
class Asserting(Narrow):
    """Holds what it is given to something else."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        raise AssertionError("images only")


@secure_fl.model
class Steep(Narrow):
    """Its gradients are of another shape."""

    def gradients(self, *given: Any) -> torch.Tensor:
        return super().gradients(*given)[:, :-1]


@secure_fl.model
class Hollow(Narrow):
    """Answers nothing."""

    def forward(self, tensors: Any, x: torch.Tensor) -> torch.Tensor:
        return super().forward(tensors, x) / 0


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


@secure_fl.model
class Unbuildable(Narrow):
    """Wants what is not there."""

    def __init__(self, feature_shape: tuple[int, ...], classes: int) -> None:
        raise RuntimeError("no weights here")


def built(made: type[Model]) -> Model:
    name = f"{made.__module__}:{made.__name__}"
    return build(name, (5,), 3, extensions=Extensions({name: made}))


def test_a_sound_model_is_built() -> None:
    assert isinstance(built(Narrow), Narrow)


@pytest.mark.parametrize(
    ("made", "reason"),
    [
        (Wide, r"model Wide must map 5 .* logits, float32 \(2, 5, 3\); got float32 \(2, 5, 4\)"),
        (Bare, r"model Bare on rows \(5,\): AttributeError: .* no attribute 'shapes'"),
        (Failing, r"model Failing on rows \(5,\): KeyError: 'weights'"),
        (Mixing, "model Mixing must treat each row by itself"),
        (Meeting, "model Meeting must treat each network by itself"),
        (Asserting, r"model Asserting on rows \(5,\): AssertionError: images only"),
        (Steep, r"must give gradients, float32 \(2, 39\); got float32 \(2, 38\)"),
        (Hollow, "must map .* to logits that are finite; got NaN or infinity"),
        (Doubled, r"must start with parameters, float32 \(39,\); got float64 \(39,\)"),
        (Cut, r"model Cut on rows \(5,\): RuntimeError"),
    ],
)
def test_a_model_that_cannot_be_trained_is_refused(made: type[Model], reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        built(made)
    with pytest.raises(InputError, match=reason):
        probe(made((5,), 3), f"model {made.__name__}")


def test_a_model_that_cannot_be_made_is_refused() -> None:
    said = r"model '.*:Unbuildable' cannot be made; it raised RuntimeError: no weights here"
    with pytest.raises(InputError, match=said):
        built(Unbuildable)
