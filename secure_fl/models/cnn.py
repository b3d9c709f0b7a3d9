"""A small convolutional network."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

from secure_fl.errors import require
from secure_fl.models.mlp import are_widths
from secure_fl.models.model import Model, Shape, model


@model
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
        ok = are_widths(channels) and len(channels) == 2
        require(ok, "channels", "two, each >= 1, as a list", channels)
        require(are_widths([hidden]), "hidden", "a whole number >= 1", hidden)
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
        return torch.baddbmm(tensors[7].unsqueeze(1), self._hidden(tensors, x), tensors[6])

    def hidden(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """See `Model.hidden`."""
        return self._hidden(self.split(params), x)

    def _hidden(self, tensors: Sequence[torch.Tensor], x: torch.Tensor) -> torch.Tensor:
        n, batch = x.shape[:2]
        w1, b1, w2, b2, w3, b3 = tensors[:6]
        h = x.transpose(0, 1).flatten(1, 2)  # (B, n * channels, height, width)
        for weight, bias in ((w1, b1), (w2, b2)):
            h = F.conv2d(h, weight.flatten(0, 1), bias.flatten(), stride=2, padding=1, groups=n)
            h = h.relu()
        flat = h.view(batch, n, -1).transpose(0, 1)  # (n, B, flat)
        return torch.baddbmm(b3.unsqueeze(1), flat, w3).relu()
