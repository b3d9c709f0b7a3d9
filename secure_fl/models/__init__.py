"""Networks for which all hospitals are one batch dimension."""

from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model, Shape, predict
from secure_fl.models.registry import build, describe, names

__all__ = ["CNN", "MLP", "Model", "Shape", "build", "describe", "names", "predict"]
