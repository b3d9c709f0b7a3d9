"""Checks of single settings, for the classes that hold them."""

from __future__ import annotations

import functools
import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, get_type_hints

from secure_fl.errors import ConfigError, near
from secure_fl.parameters import fits, type_words

# Longest label or description.
MAX_WORDS = 200


def check(condition: bool, key: str, rule: str, value: object) -> None:
    """Raise `ConfigError` naming the key, the rule and the value unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{key} must be {rule}; got {value!r}")


def check_name(key: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a name that is not in `allowed`; the error lists the real choices."""
    if value not in allowed:
        hint = near(value, allowed)
        raise ConfigError(f"{key} must be one of {', '.join(allowed)}; got {value!r}{hint}")


def check_plain(key: str, value: str) -> None:
    """Hold a name that becomes a folder's, or part of it, to characters that every system takes."""
    plain = re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,99}", value) is not None
    check(plain, key, "letters, digits, dots, dashes and underscores", value)


def check_words(key: str, value: str | None) -> None:
    """Hold a text that is printed and drawn to what can be."""
    good = value is None or (len(value) <= MAX_WORDS and value.isprintable())
    check(good, key, f"at most {MAX_WORDS} printable characters", value)


def check_types(made: Callable[..., Any], given: Mapping[str, Any]) -> None:
    """Hold parameters to the annotations of what they are for; without one anything fits.

    Raises:
        ConfigError: naming the parameter, its type and the value.
    """
    hints = _hints(made)
    for key, value in given.items():
        if key in hints and not fits(value, hints[key]):
            raise ConfigError(f"{key} must be of type {type_words(hints[key])}; got {value!r}")


@functools.lru_cache(maxsize=256)
def _hints(made: Callable[..., Any]) -> dict[str, Any]:
    try:
        return get_type_hints(made)
    except (NameError, TypeError):  # a rule of the user's own may be annotated with anything
        return {}


def positive(value: float) -> bool:
    """Whether a number is above 0 and finite."""
    return 0 < value < math.inf
