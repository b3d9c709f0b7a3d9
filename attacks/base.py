"""What an attack is, what it may know, and how it is found.

An attack is a frozen dataclass derived from `Attack` and marked `@attack`, alone in a file of this
package; the file's name is the attack's name. An attack of your own is marked alike, in a file of
yours. Its fields are its parameters.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
import typing
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, is_dataclass
from typing import Any, ClassVar, TypeVar

import torch

from attacks.parameters import fits, type_words

KNOWLEDGE = ("own", "omniscient")
OBJECTIVES = ("none", "untargeted", "label_flip", "backdoor")

T = TypeVar("T", bound="type[Attack]")

# What `@attack` marked, by id; holding the class keeps its id its own.
_MARKED: dict[int, object] = {}


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise `ValueError` naming the argument, the rule and the value unless `condition` holds."""
    if not condition:
        raise ValueError(f"{name} must be {rule}; got {value!r}")


@dataclass(frozen=True)
class AttackView:
    """All that malicious hospitals may use in a round, besides the updates they hold.

    Attributes:
        round: number of the round, from 0.
        num_hospitals: n, those that take part in this round, malicious ones included.
        num_malicious: f of them, from 1 to n.
        rng: the attackers' source of randomness.
        global_model: float (d,), the broadcast model.
        clip_norm: bound on an update's norm that the federation enforces, or None.
        defence: name of the aggregation rule.
    """

    round: int
    num_hospitals: int
    num_malicious: int
    rng: torch.Generator
    global_model: torch.Tensor
    clip_norm: float | None = None
    defence: str = ""


@dataclass(frozen=True)
class Attack:
    """Base of all attacks; every hook has a neutral default.

    Class attributes:
        knowledge: "own" if `honest` in `craft` is only what the malicious hospitals trained
            themselves, "omniscient" if it is the honest hospitals' updates.
        objective: how success is measured. "label_flip" attacks have `source_class` and
            `target_class`; "backdoor" attacks have `target_class` and `trigger(x)`.
    """

    knowledge: ClassVar[str] = "own"
    objective: ClassVar[str] = "untargeted"

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, rng: torch.Generator
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a malicious hospital's rows before it trains. Default: leave them.

        Args:
            x: float32 (m, *features) in [0, 1].
            y: int64 (m,).
            rng: source of randomness.

        Returns:
            New tensors of the same types and the same number of features.
        """
        return x.clone(), y.clone()

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Change the malicious hospitals' updates after training. Default: send what was trained.

        Any number of hospitals may be suspended by then: an attack acts from one malicious
        hospital alone to all of them, and returns finite rows for finite ones.

        Args:
            honest: float (h, d), the honest hospitals' updates for an "omniscient" attack; `own`
                for others, and where no honest hospital takes part. At least one row.
            own: float (f, d), what the malicious hospitals trained, on poisoned rows.
            view: what else they may know.

        Returns:
            float (f, d), new rows.
        """
        return own.clone()


def in_sight(honest: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The updates (m, d) that an omniscient attack takes its statistics from, m >= 1.

    Args:
        honest: float (h, d). Rows that are not finite are left out: they are refused.
        own: float (f, d), the stand-in where no honest update is left.
    """
    finite = honest[honest.isfinite().all(dim=1)]
    return finite if len(finite) else own


def attack(cls: T) -> T:
    """Mark a class as the attack of its file and check that it keeps the contract.

    Raises:
        TypeError: not a frozen dataclass derived from `Attack`, no docstring, unknown knowledge
            or objective, or an objective without the attributes that its measurement needs.
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
            raise TypeError(f"attack {cls.__name__} must {rule}")

    insist(isinstance(cls, type) and issubclass(cls, Attack), "derive from attacks.base.Attack")
    frozen = is_dataclass(cls) and cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    own = "__dataclass_params__" in vars(cls)
    insist(frozen and own, "be decorated with @dataclass(frozen=True) below @attack")
    insist(bool((cls.__doc__ or "").strip()), "have a docstring")
    insist(cls.knowledge in KNOWLEDGE, f"have knowledge in {KNOWLEDGE}")
    insist(cls.objective in OBJECTIVES, f"have objective in {OBJECTIVES}")
    measured_by = {
        "label_flip": ["source_class", "target_class"],
        "backdoor": ["target_class", "trigger"],
    }
    known = {f.name for f in fields(cls)} | set(dir(cls))
    for name in measured_by.get(cls.objective, []):
        insist(name in known, f"have `{name}`, which objective {cls.objective!r} is measured by")


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
    name = name or cls.__name__
    hints = typing.get_type_hints(cls)
    allowed = [f.name for f in fields(cls) if f.init]
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
