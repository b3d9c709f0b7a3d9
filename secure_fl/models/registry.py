"""Models by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from secure_fl.descriptions import first_line
from secure_fl.errors import InputError, near
from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model, Shape

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
