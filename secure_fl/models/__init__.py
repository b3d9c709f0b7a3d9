"""Networks for which all hospitals are one batch dimension."""

from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model, Shape, losses, predict
from secure_fl.models.probe import probe
from secure_fl.models.registry import build, describe, names
from secure_fl.models.torch_module import TorchModule, shared_module

__all__ = [
    "CNN",
    "MLP",
    "Model",
    "Shape",
    "TorchModule",
    "build",
    "describe",
    "losses",
    "names",
    "predict",
    "probe",
    "shared_module",
]
