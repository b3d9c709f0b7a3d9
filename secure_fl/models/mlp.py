"""Fully connected layers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import pairwise

import torch
import torch.nn.functional as F

from secure_fl.errors import require
from secure_fl.models.model import Model, Shape, model


def are_widths(value: object) -> bool:
    """Whether a value, which may come from a file, is a list of layers' widths."""
    if not isinstance(value, list | tuple):
        return False
    return all(isinstance(w, int) and not isinstance(w, bool) and w >= 1 for w in value)


@model
class MLP(Model):
    """Fully connected layers with ReLU between them, on flattened input."""

    def __init__(self, feature_shape: Shape, classes: int, hidden: Sequence[int] = (64, 32)):
        require(len(feature_shape) >= 1, "feature_shape", "of at least one axis", feature_shape)
        require(classes >= 2, "classes", ">= 2", classes)
        require(are_widths(hidden), "hidden", "widths >= 1, as a list", hidden)
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

    def hidden(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `Model.hidden`."""
        return self._activations(self.split(params), x)[0][-1]

    @torch.no_grad()
    def gradients(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """See `Model.gradients`. By hand: autograd's overhead is up to three times the work."""
        tensors = self.split(params)
        inputs, out = self._activations(tensors, x)
        if y.dim() == out.dim():
            delta = (out.sigmoid() - y) / self.classes * weight.unsqueeze(-1)
        else:
            delta = (out.softmax(-1) - F.one_hot(y, self.classes)) * weight.unsqueeze(-1)
        parts: list[torch.Tensor] = []  # last parameter first
        for layer in reversed(range(len(inputs))):
            parts += [delta.sum(1), torch.bmm(inputs[layer].mT, delta).flatten(1)]
            if layer > 0:
                delta = torch.bmm(delta, tensors[2 * layer].mT) * (inputs[layer] > 0)
        return torch.cat(parts[::-1], dim=1)
