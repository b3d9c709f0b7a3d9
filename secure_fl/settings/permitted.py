"""What a person permits for a whole experiment: attacks of their own beside all other kinds."""

from __future__ import annotations

from collections.abc import Iterable

from attacks import is_attack
from secure_fl import imports
from secure_fl.extensions import Extensions, load_extensions
from secure_fl.installed import resolve_permitted


def kind_of(thing: object) -> str | None:
    """Which decorator marked an object, `@attack` among them; None for one without a mark."""
    return "attack" if is_attack(thing) else imports.kind_of(thing)


def permit(names: Iterable[str]) -> Extensions:
    """Import what a person permitted: attacks, rules, stages, data sets and models.

    Args:
        names: "module:name" each, looked for on Python's path, then in the current directory; or a
            name that an installed package registers.

    Raises:
        ConfigError: a name that is malformed, cannot be imported, or names something unmarked.
    """
    meant = [each for name in names for each in resolve_permitted(name)]
    return load_extensions(meant, kind=kind_of)
