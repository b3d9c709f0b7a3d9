"""A network for which all hospitals are one batch dimension.

The parameters of n hospitals are one matrix (n, d); a layer works on all of them in one batched
product. A model therefore trains n networks in about the time of one."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

import torch
import torch.nn.functional as F

from secure_fl.errors import InputError
from secure_fl.imports import mark

Shape = tuple[int, ...]

B = TypeVar("B", bound=Callable[..., Any])


def model(builder: B) -> B:
    """Mark a class or a function so that its name may stand for it.

    It takes the shape of one row, the number of classes and parameters of its own by keyword, and
    returns a `Model` or a `torch.nn.Module`.
    """
    return mark("model", builder)


def losses(logits: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Loss of each row: cross-entropy, or the mean over the labels of the binary cross-entropies.

    Args:
        logits: float (n, B, classes).
        y: int64 (n, B), classes; or (n, B, classes) of 0 and 1, several labels a row.

    Returns:
        Of the type of the logits, (n, B).
    """
    if y.dim() == logits.dim():
        each = F.binary_cross_entropy_with_logits(logits, y.to(logits.dtype), reduction="none")
        return each.mean(dim=-1)
    flat = F.cross_entropy(logits.flatten(0, 1), y.flatten(), reduction="none")
    return flat.unflatten(0, tuple(y.shape))


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

    def hidden(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What the last, fully connected, layer of network i takes in for batch i.

        Args:
            params: float32 (n, d), whose end is that layer's weight and bias.
            x: float32 (n, B, *feature_shape).

        Returns:
            float32 (n, B, width).

        Raises:
            InputError: which layer is the last is not known.
        """
        name = type(self).__name__
        raise InputError(f"model must be mlp or cnn, whose hidden layer is known; got {name}")

    def gradients(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Gradient of sum_b weight[i, b] * losses(logits, y)[i, b] for each i.

        Args:
            params: float32 (n, d).
            x: float32 (n, B, *feature_shape).
            y: int64 (n, B); or (n, B, classes) of 0 and 1.
            weight: float32 (n, B); 0 for padding.

        Returns:
            float32 (n, d).
        """
        leaves = [tensor.detach().requires_grad_() for tensor in self.split(params)]
        out = self.forward(leaves, x)
        each = losses(out, y).flatten()
        parts = torch.autograd.grad((each * weight.flatten()).sum(), leaves)
        return torch.cat([part.flatten(1) for part in parts], dim=1)


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
