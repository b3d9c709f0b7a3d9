"""Errors a user of the federation can meet, and the one check that raises for bad input."""

from __future__ import annotations

import difflib
from collections.abc import Iterable

# What Python raises for mistakes in code, and not for what is outside it.
MISTAKES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    LookupError,
    NameError,
    RuntimeError,
    TypeError,
    ValueError,
)


class SecureFLError(Exception):
    """Base of every error that this package raises on purpose."""


class ConfigError(SecureFLError, ValueError):
    """A configuration key, type or value that does not exist or is out of range."""


class NotPermitted(ConfigError):
    """A name of code of somebody's own that the person who runs this did not permit.

    Attributes:
        name: "module:name".
    """

    def __init__(self, name: str, how: str) -> None:
        super().__init__(f"{name!r} is code of somebody's own and was not permitted: {how}")
        self.name = name


class InputError(SecureFLError, ValueError):
    """An argument that breaks a stated rule; the message gives name, rule and value."""


class NodeFailure(SecureFLError, RuntimeError):
    """A computing node or the dealer stopped, or did not answer within its time limit."""


def near(name: object, allowed: Iterable[str]) -> str:
    """` (did you mean X?)` for the allowed name closest to a misspelt one; empty if none is."""
    close = difflib.get_close_matches(str(name), list(allowed), n=1)
    return f" (did you mean {close[0]}?)" if close else ""


def require(condition: bool, name: str, rule: str, value: object) -> None:
    """Raise `InputError` naming the argument, the rule and the value unless `condition` holds."""
    if not condition:
        raise InputError(f"{name} must be {rule}; got {value!r}")
