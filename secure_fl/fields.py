"""Rules that fields of messages between processes are held to, by name."""

from __future__ import annotations

import reprlib
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from secure_fl.errors import InputError, require


class Rule(NamedTuple):
    """What a value must be.

    Attributes:
        words: how an error says it.
        holds: whether a value, of any type that JSON has, is it.
    """

    words: str
    holds: Callable[[Any], bool]

    def check(self, name: str, value: Any) -> None:
        """Hold a field to the rule.

        Raises:
            InputError: naming the field, the rule and the value, cut short.
        """
        if not self.holds(value):
            require(False, name, self.words, Short(value))


class Short:
    """A value of any size, whose `repr` is short."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def __repr__(self) -> str:
        return reprlib.repr(self._value)


def is_whole(value: Any, low: int, high: int) -> bool:
    """Whether a value is a whole number in a range, both ends included; a bool is none."""
    return type(value) is int and low <= value <= high


def whole(low: int, high: int) -> Rule:
    """A whole number in a range, both ends included."""
    return Rule(f"a whole number in {low}..{high}", lambda value: is_whole(value, low, high))


def hold(what: str, header: Mapping[str, Any], rules: Mapping[str, Rule], also: str = "") -> None:
    """Hold a message to exactly these fields.

    Args:
        what: the message, as an error says it.
        header: the message.
        rules: what each field must be.
        also: a field that may be there beside them.

    Raises:
        InputError: naming the field, the rule and the value.
    """
    for name in header:
        if name not in rules and name != also:
            raise InputError(f"{what} has no field {Short(name)!r}")
    for name, rule in rules.items():
        if name not in header:
            raise InputError(f"{what} must have {name!r}")
        rule.check(name, header[name])
