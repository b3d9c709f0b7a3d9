"""How attacks are found, checked and built: by the file's name, or by a class of one's own."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import typing
from collections.abc import Iterable, Mapping
from dataclasses import fields, is_dataclass
from typing import Any, TypeVar

from attacks.base import HOOKS, Attack
from attacks.parameters import fits, require, type_words
from attacks.view import knowledge_of

OBJECTIVES = ("none", "untargeted", "label_flip", "backdoor")

T = TypeVar("T", bound="type[Attack]")
B = TypeVar("B")

# What `@attack` marked, by id; holding the class keeps its id its own.
_MARKED: dict[int, object] = {}


class BrokenContract(TypeError):
    """A class under `@attack` that does not keep the contract of attacks."""


def attack(cls: T) -> T:
    """Mark a class as the attack of its file and check that it keeps the contract.

    Raises:
        BrokenContract: not a frozen dataclass derived from `Attack`, no docstring, unknown
            knowledge or objective, no hook of its own, or an objective without the attributes that
            its measurement needs.
    """
    _check_class(cls)
    _MARKED[id(cls)] = cls
    return cls


def is_attack(thing: object) -> bool:
    """Whether `@attack` marked this very object; what it says of itself counts for nothing."""
    return id(thing) in _MARKED


def _check_class(cls: type[Attack]) -> None:
    def insist(condition: bool, rule: str) -> None:
        if not condition:
            raise BrokenContract(f"attack {cls.__name__} must {rule}")

    insist(isinstance(cls, type) and issubclass(cls, Attack), "derive from attacks.base.Attack")
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    own = "__dataclass_params__" in vars(cls)
    insist(frozen and own, "be decorated with @dataclass(frozen=True) below @attack")
    insist(bool((cls.__doc__ or "").strip()), "have a docstring")
    try:
        knowledge_of(cls.knowledge)
    except ValueError as error:
        raise BrokenContract(f"attack {cls.__name__}: {error}") from error
    insist(cls.objective in OBJECTIVES, f"have objective in {OBJECTIVES}")
    measured_by = {
        "label_flip": ["source_class", "target_class"],
        "backdoor": ["target_class", "trigger"],
    }
    known = {f.name for f in fields(cls)} | set(dir(cls))
    for name in measured_by.get(cls.objective, []):
        insist(name in known, f"have `{name}`, which objective {cls.objective!r} is measured by")
    acts = any(getattr(cls, hook) is not getattr(Attack, hook) for hook in HOOKS)
    insist(acts or cls.objective == "none", f"have a hook of its own, one of {', '.join(HOOKS)}")


def _found() -> dict[str, type[Attack]]:
    package = importlib.import_module(__package__ or "attacks")
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        module = importlib.import_module(f"{package.__name__}.{info.name}")
        for value in vars(module).values():
            if is_attack(value) and value.__module__ == module.__name__:
                found[info.name] = value
    return found


def names() -> list[str]:
    """Names of the attacks in this package, sorted."""
    return sorted(_found())


def find(name: str) -> type[Attack]:
    """The class of an attack that ships, by file name.

    Raises:
        ValueError: no such attack; the message lists those that exist.
    """
    found = _found()
    if name not in found:
        choices = ", ".join(sorted(found))
        raise ValueError(f"attack must be one of {choices}; got {name!r}{_near(name, found)}")
    return found[name]


def _near(name: str, allowed: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(allowed), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def load(name: str, params: Mapping[str, Any] | None = None) -> Attack:
    """Build an attack that ships.

    Args:
        name: a file name of this package.
        params: its parameters; those left out take their defaults.

    Raises:
        ValueError: unknown attack, unknown parameter, wrong type, or value out of range.
    """
    return build(find(name), params, name)


def build(cls: type[Attack], params: Mapping[str, Any] | None = None, name: str = "") -> Attack:
    """Build an attack from its class; see `load`."""
    return build_fields(cls, params, name)


def build_fields(cls: type[B], params: Mapping[str, Any] | None = None, name: str = "") -> B:
    """Build a frozen dataclass from values for its fields, each held to its annotated type.

    Raises:
        ValueError: unknown parameter, wrong type, or value out of range.
    """
    name = name or cls.__name__
    hints = typing.get_type_hints(cls)
    allowed = [f.name for f in fields(cls) if f.init]  # type: ignore[arg-type]
    checked = {}
    for key, value in (params or {}).items():
        listed = ", ".join(allowed) or "none (it has no parameters)"
        if key not in allowed:
            rule = f"parameter of {name} must be one of {listed}"
            raise ValueError(f"{rule}; got {key!r}{_near(key, allowed)}")
        value = tuple(value) if isinstance(value, list) else value
        require(
            fits(value, hints[key]), f"{name}.{key}", f"of type {type_words(hints[key])}", value
        )
        checked[key] = value
    return cls(**checked)
