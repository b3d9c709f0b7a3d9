"""What a person permits for a whole experiment: attacks of their own beside all other kinds."""

from __future__ import annotations

from collections.abc import Iterable

from attacks import is_attack
from secure_fl import imports
from secure_fl.extensions import Extensions, load_extensions


def kind_of(thing: object) -> str | None:
    """Which decorator marked an object, `@attack` among them; None for one without a mark."""
    return "attack" if is_attack(thing) else imports.kind_of(thing)


def permit(names: Iterable[str]) -> Extensions:
    """Import what a person permitted: attacks, rules, stages, data sets and models.

    Args:
        names: "module:name" each, looked for on Python's path, then in the current directory.

    Raises:
        ConfigError: a name that is malformed, cannot be imported, or names something unmarked.
    """
    return load_extensions(names, kind=kind_of)
