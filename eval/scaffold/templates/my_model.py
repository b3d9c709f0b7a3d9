"""A model of your own: any torch module from rows to logits."""

from __future__ import annotations

import math

import torch
from torch import nn

import secure_fl
from secure_fl.errors import require


@secure_fl.model
def my_model(feature_shape: tuple[int, ...], classes: int, width: int = 32) -> nn.Module:
    """One hidden layer.

    Args:
        feature_shape: of one row.
        classes: logits that it gives for each.
        width: of the hidden layer, at least 1; the setting model.params.width.
    """
    require(width >= 1, "width", "at least 1", width)
    torch.manual_seed(0)  # the same parameters each time that it is built
    inputs = math.prod(feature_shape)
    return nn.Sequential(
        nn.Flatten(), nn.Linear(inputs, width), nn.Tanh(), nn.Linear(width, classes)
    )
