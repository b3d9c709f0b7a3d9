"""Types of an attack's parameters, as errors name them and values are held to them."""

from __future__ import annotations

import math
import types
import typing
from typing import Any


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise `ValueError` naming the argument, the rule and the value unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {rule}; got {value!r}")


def fits(value: object, hint: Any) -> bool:
    """Whether a value is of an annotated type; floats must be finite, and an int will do."""
    origin, args = typing.get_origin(hint), typing.get_args(hint)
    if origin in (typing.Union, types.UnionType):
        return any(fits(value, a) for a in args)
    if origin is typing.Literal:
        return value in args
    if origin is tuple:
        return isinstance(value, tuple) and all(fits(v, args[0]) for v in value)
    if hint is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and math.isfinite(typing.cast("float", value))
    if hint is int:
        return isinstance(value, int) and not isinstance(value, bool)
    return isinstance(value, hint) if isinstance(hint, type) else True


def type_words(hint: Any) -> str:
    """An annotated type as errors name it."""
    if hint is float:
        return "float, finite"
    if typing.get_origin(hint) is tuple:
        return f"list of {type_words(typing.get_args(hint)[0])}"
    return hint.__name__ if isinstance(hint, type) and not typing.get_args(hint) else str(hint)
