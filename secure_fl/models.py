"""Small networks for which all hospitals are one batch dimension.

The parameters of n hospitals are one matrix (n, d); a layer works on all of them in one batched
product. A model therefore trains n networks in about the time of one.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F

from attacks.descriptions import first_line
from secure_fl.errors import InputError, near, require

Shape = tuple[int, ...]


class Model(ABC):
    """A network as pure functions of its parameters.

    Subclasses give `shapes` (one shape per parameter tensor, in the order of the flat vector),
    `fans` (the fan-in that scales the initial values of each) and `forward`.
    """

    feature_shape: Shape
    classes: int
    shapes: tuple[Shape, ...]
    fans: tuple[int, ...]

    @property
    def num_parameters(self) -> int:
        """Length d of the flat parameter vector."""
        return sum(math.prod(shape) for shape in self.shapes)

    def init(self, generator: torch.Generator) -> torch.Tensor:
        """Initial parameters: float32 (d,), uniform in +-1/sqrt(fan_in), as torch.nn.Linear's."""
        parts = [
            (torch.rand(math.prod(shape), generator=generator, dtype=torch.float32) * 2 - 1)
            / math.sqrt(fan)
            for shape, fan in zip(self.shapes, self.fans, strict=True)
        ]
        return torch.cat(parts)

    def split(self, params: torch.Tensor) -> list[torch.Tensor]:
        """Views of (n, d) as the parameter tensors, each (n, *shape)."""
        sizes = [math.prod(shape) for shape in self.shapes]
        parts = params.split(sizes, dim=1)
        return [p.unflatten(1, s) for p, s in zip(parts, self.shapes, strict=True)]

    @abstractmethod
    def forward(self, tensors: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """Logits (n, B, classes) of x (n, B, *feature_shape) under tensors (n, *shape)."""

    def logits(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Network i applied to batch i.

        Args:
            params: float32 (n, d).
            x: float32 (n, B, *feature_shape).

        Returns:
            float32 (n, B, classes).
        """
        return self.forward(self.split(params), x)

    def gradients(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Gradient of sum_b weight[i, b] * crossentropy(logits[i, b], y[i, b]) for each i.

        Args:
            params: float32 (n, d).
            x: float32 (n, B, *feature_shape).
            y: int64 (n, B).
            weight: float32 (n, B); 0 for padding.

        Returns:
            float32 (n, d).
        """
        leaves = [tensor.detach().requires_grad_() for tensor in self.split(params)]
        out = self.forward(leaves, x)
        losses = F.cross_entropy(out.flatten(0, 1), y.flatten(), reduction="none")
        parts = torch.autograd.grad((losses * weight.flatten()).sum(), leaves)
        return torch.cat([part.flatten(1) for part in parts], dim=1)


def _widths(value: object) -> bool:
    """Whether a value, which may come from a file, is a list of layers' widths."""
    if not isinstance(value, list | tuple):
        return False
    return all(isinstance(w, int) and not isinstance(w, bool) and w >= 1 for w in value)


class MLP(Model):
    """Fully connected layers with ReLU between them, on flattened input."""

    def __init__(self, feature_shape: Shape, classes: int, hidden: Sequence[int] = (64, 32)):
        require(len(feature_shape) >= 1, "feature_shape", "of at least one axis", feature_shape)
        require(classes >= 2, "classes", ">= 2", classes)
        require(_widths(hidden), "hidden", "widths >= 1, as a list", hidden)
        self.feature_shape = tuple(feature_shape)
        self.classes = classes
        widths = [math.prod(feature_shape), *hidden, classes]
        shapes: list[Shape] = []
        for before, after in pairwise(widths):
            shapes += [(before, after), (after,)]
        self.shapes = tuple(shapes)
        self.fans = tuple(before for before in widths[:-1] for _ in range(2))

    def _activations(
        self, tensors: Sequence[torch.Tensor], x: torch.Tensor
    ) -> tuple[list[torch.Tensor], torch.Tensor]:
        """The input of each layer, (n, B, width), and the logits."""
        inputs = [x.flatten(2)]
        for i in range(0, len(tensors) - 2, 2):
            hidden = torch.baddbmm(tensors[i + 1].unsqueeze(1), inputs[-1], tensors[i])
            inputs.append(hidden.relu())
        return inputs, torch.baddbmm(tensors[-1].unsqueeze(1), inputs[-1], tensors[-2])

    def forward(self, tensors: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """See `Model.forward`."""
        return self._activations(tensors, x)[1]

    @torch.no_grad()
    def gradients(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """See `Model.gradients`. By hand: autograd's overhead is up to three times the work."""
        tensors = self.split(params)
        inputs, out = self._activations(tensors, x)
        delta = (out.softmax(-1) - F.one_hot(y, self.classes)) * weight.unsqueeze(-1)
        parts: list[torch.Tensor] = []  # last parameter first
        for layer in reversed(range(len(inputs))):
            parts += [delta.sum(1), torch.bmm(inputs[layer].mT, delta).flatten(1)]
            if layer > 0:
                delta = torch.bmm(delta, tensors[2 * layer].mT) * (inputs[layer] > 0)
        return torch.cat(parts[::-1], dim=1)


class CNN(Model):
    """Two strided 3x3 convolutions, a hidden layer and the output, with ReLU between them.

    Strides in place of pooling quarter the work of each convolution. All networks share one call
    by grouped convolution, a group for each.
    """

    def __init__(
        self,
        feature_shape: Shape,
        classes: int,
        channels: Sequence[int] = (8, 16),
        hidden: int = 32,
    ):
        rule = "(channels, height, width) with sides divisible by 4"
        ok = len(feature_shape) == 3 and feature_shape[1] % 4 == 0 == feature_shape[2] % 4
        require(ok, "feature_shape", rule, tuple(feature_shape))
        require(classes >= 2, "classes", ">= 2", classes)
        ok = _widths(channels) and len(channels) == 2
        require(ok, "channels", "two, each >= 1, as a list", channels)
        require(_widths([hidden]), "hidden", "a whole number >= 1", hidden)
        self.feature_shape = tuple(feature_shape)
        self.classes = classes
        depth, height, width = feature_shape
        first, second = channels
        flat = second * (height // 4) * (width // 4)
        self.shapes = (
            *((first, depth, 3, 3), (first,)),
            *((second, first, 3, 3), (second,)),
            *((flat, hidden), (hidden,)),
            *((hidden, classes), (classes,)),
        )
        self.fans = (depth * 9, depth * 9, first * 9, first * 9, flat, flat, hidden, hidden)

    def forward(self, tensors: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        """See `Model.forward`."""
        n, batch = x.shape[:2]
        w1, b1, w2, b2, w3, b3, w4, b4 = tensors
        h = x.transpose(0, 1).flatten(1, 2)  # (B, n * channels, height, width)
        for weight, bias in ((w1, b1), (w2, b2)):
            h = F.conv2d(h, weight.flatten(0, 1), bias.flatten(), stride=2, padding=1, groups=n)
            h = h.relu()
        flat = h.view(batch, n, -1).transpose(0, 1)  # (n, B, flat)
        hidden = torch.baddbmm(b3.unsqueeze(1), flat, w3).relu()
        return torch.baddbmm(b4.unsqueeze(1), hidden, w4)


_MODELS: dict[str, type[Model]] = {"cnn": CNN, "mlp": MLP}


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(_MODELS)


def describe(name: str) -> str:
    """The first docstring line of a model."""
    return first_line(_model(name))


def build(
    name: str, feature_shape: Shape, classes: int, params: Mapping[str, object] | None = None
) -> Model:
    """Build a model by name.

    Args:
        name: one of `names()`.
        feature_shape: shape of one row of x.
        classes: number of classes.
        params: keyword parameters of the model, e.g. {"hidden": (64, 32)}.

    Raises:
        InputError: unknown name or parameter, or a value out of range.
    """
    make: Callable[..., Model] = _model(name)
    allowed = _parameters(name)
    for key in params or {}:
        if key not in allowed:
            rule = f"parameter of {name} must be one of {', '.join(allowed)}"
            raise InputError(f"{rule}; got {key!r}{near(key, allowed)}")
    return make(feature_shape, classes, **(params or {}))


def _parameters(name: str) -> list[str]:
    code = _model(name).__init__.__code__
    return list(code.co_varnames[3 : code.co_argcount])


def _model(name: str) -> type[Model]:
    if name not in _MODELS:
        hint = near(name, _MODELS)
        raise InputError(f"model must be one of {', '.join(names())}; got {name!r}{hint}")
    return _MODELS[name]


@torch.no_grad()
def predict(model: Model, params: torch.Tensor, x: torch.Tensor, batch: int = 4096) -> torch.Tensor:
    """Class probabilities of one model.

    Args:
        model: the network.
        params: float (d,).
        x: float32 (m, *feature_shape).
        batch: rows at a time.

    Returns:
        float32 (m, classes); rows sum to 1.
    """
    single = params.float().unsqueeze(0)
    parts = [model.logits(single, rows.unsqueeze(0))[0].softmax(-1) for rows in x.split(batch)]
    return torch.cat(parts)
