"""Checks of single settings, for the classes that hold them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from secure_fl.errors import ConfigError


def check(condition: bool, key: str, rule: str, value: object) -> None:
    """Raise `ConfigError` naming the key, the rule and the value unless `condition` holds."""
    if not condition:
        raise ConfigError(f"{key} must be {rule}; got {value!r}")


def check_name(key: str, value: str, allowed: Sequence[str]) -> None:
    """Refuse a name that is not in `allowed`; the error lists the real choices."""
    check(value in allowed, key, f"one of {', '.join(allowed)}", value)


def positive(value: float) -> bool:
    """Whether a number is above 0 and finite."""
    return 0 < value < math.inf
