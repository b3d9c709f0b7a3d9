"""Models by name: each file of this package that marks one with `@model`."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from torch import nn

from secure_fl.descriptions import first_line
from secure_fl.errors import MISTAKES, ConfigError, InputError, SecureFLError, near
from secure_fl.extensions import NONE, Extensions, is_own
from secure_fl.imports import kind_of
from secure_fl.models.model import Model, Shape
from secure_fl.models.probe import probe
from secure_fl.models.torch_module import TorchModule

Builder = Callable[..., Model | nn.Module]


def _shipped() -> dict[str, type[Model]]:
    """Models of this package: what `@model` marked in a file, by the file's name."""
    package = importlib.import_module("secure_fl.models")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            if kind_of(value) == "model" and value.__module__ == module.__name__:
                found[info.name] = value
    return found


def names() -> list[str]:
    """Names of all models, sorted."""
    return sorted(_shipped())


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
        InputError: unknown name or parameter, a value out of range, or a model of somebody's own
            that fails on made-up rows (`secure_fl.models.probe`).
        NotPermitted: code of somebody's own that is not among the extensions.
        ConfigError: it returned no model.
    """
    make: Builder = extensions.get("model", name) if is_own(name) else _model(name)
    allowed = list(inspect.signature(make).parameters)[2:]
    for key in params or {}:
        if key not in allowed:
            rule = f"parameter of {name} must be one of {', '.join(allowed) or 'none'}"
            raise InputError(f"{rule}; got {key!r}{near(key, allowed)}")
    made = _made(make, name, feature_shape, classes, params or {})
    if isinstance(made, nn.Module):
        return TorchModule(made, feature_shape, classes)
    if not isinstance(made, Model):
        raise ConfigError(
            f"model {name!r} must return a Model or a torch.nn.Module; got {type(made).__name__}"
        )
    if is_own(name):
        probe(made, f"model {type(made).__name__}")
    return made


def _made(make: Builder, name: str, shape: Shape, classes: int, params: Mapping[str, Any]) -> Any:
    """What the builder returns.

    Raises:
        InputError: a model of somebody's own that makes a mistake.
    """
    try:
        return make(shape, classes, **params)
    except SecureFLError:
        raise
    except MISTAKES as error:
        if not is_own(name):
            raise
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"model {name!r} cannot be made; it raised {told}") from error


def _model(name: str) -> type[Model]:
    found = _shipped()
    if name not in found:
        raise InputError(
            f"model must be one of {', '.join(sorted(found))}; got {name!r}{near(name, found)}"
        )
    return found[name]
