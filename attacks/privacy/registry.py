"""Attacks on privacy by name: the file's name in this package is the attack's."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Mapping
from dataclasses import is_dataclass
from typing import Any, TypeVar

from attacks.privacy.base import PrivacyAttack
from attacks.registry import build_fields

T = TypeVar("T", bound="type[PrivacyAttack]")

# What `@privacy_attack` marked, by id; holding the class keeps its id its own.
_MARKED: dict[int, object] = {}


def privacy_attack(cls: T) -> T:
    """Mark a class as the attack of its file.

    Raises:
        TypeError: no frozen dataclass derived from `PrivacyAttack`, or no docstring.
    """
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    if not (isinstance(cls, type) and issubclass(cls, PrivacyAttack) and frozen and cls.__doc__):
        raise TypeError(
            f"attack on privacy {cls.__name__} must be a frozen dataclass derived from "
            "PrivacyAttack, with a docstring"
        )
    _MARKED[id(cls)] = cls
    return cls


def _found() -> dict[str, type[PrivacyAttack]]:
    package = importlib.import_module(__package__ or "attacks.privacy")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            if id(value) in _MARKED and value.__module__ == module.__name__:
                found[info.name] = value
    return found


def names() -> list[str]:
    """Names of the attacks on privacy that ship, sorted."""
    return sorted(_found())


def find(name: str) -> type[PrivacyAttack]:
    """The class of one, by file name.

    Raises:
        ValueError: no such attack.
    """
    found = _found()
    if name not in found:
        raise ValueError(
            f"attack on privacy must be one of {', '.join(sorted(found))}; got {name!r}"
        )
    return found[name]


def load(name: str, params: Mapping[str, Any] | None = None) -> PrivacyAttack:
    """Build one by name, with its parameters.

    Raises:
        ValueError: unknown name or parameter, wrong type, or value out of range.
    """
    return build_fields(find(name), params, name)
