"""Models by name."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from secure_fl.descriptions import first_line
from secure_fl.errors import ConfigError, InputError, near
from secure_fl.extensions import NONE, Extensions, is_own
from secure_fl.imports import mark
from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model, Shape
from secure_fl.models.torch_module import TorchModule

Builder = Callable[..., Model | nn.Module]

_MODELS: dict[str, type[Model]] = {"cnn": CNN, "mlp": MLP}


def model(builder: Builder) -> Builder:
    """Mark a function of one's own so that its name may stand for it.

    It takes the shape of one row, the number of classes and parameters of its own by keyword, and
    returns a `Model` or a `torch.nn.Module`.
    """
    return mark("model", builder)


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(_MODELS)


def describe(name: str) -> str:
    """The first docstring line of a model."""
    return first_line(_model(name))


def build(
    name: str,
    feature_shape: Shape,
    classes: int,
    params: Mapping[str, object] | None = None,
    extensions: Extensions = NONE,
) -> Model:
    """Build a model by name.

    Args:
        name: one of `names()`, or `module:function` marked `@model`.
        feature_shape: shape of one row of x.
        classes: number of classes.
        params: keyword parameters of the model, e.g. {"hidden": (64, 32)}.
        extensions: code of one's own that was permitted.

    Raises:
        InputError: unknown name or parameter, or a value out of range.
        NotPermitted: code of somebody's own that is not among the extensions.
        ConfigError: it returned no model.
    """
    make: Builder = extensions.get("model", name) if is_own(name) else _model(name)
    allowed = list(inspect.signature(make).parameters)[2:]
    for key in params or {}:
        if key not in allowed:
            rule = f"parameter of {name} must be one of {', '.join(allowed) or 'none'}"
            raise InputError(f"{rule}; got {key!r}{near(key, allowed)}")
    made: Any = make(feature_shape, classes, **(params or {}))
    if isinstance(made, nn.Module):
        return TorchModule(made, feature_shape, classes)
    if not isinstance(made, Model):
        raise ConfigError(
            f"model {name!r} must return a Model or a torch.nn.Module; got {type(made).__name__}"
        )
    return made


def _model(name: str) -> type[Model]:
    if name not in _MODELS:
        hint = near(name, _MODELS)
        raise InputError(f"model must be one of {', '.join(names())}; got {name!r}{hint}")
    return _MODELS[name]
