"""Code of a person's own of every kind: what was permitted, imported once, by name.

Only the person who runs a program permits a name, by writing it on the command line or in a call.
Names in settings, records and messages are looked up among these, and refused if they are not
there; looking up imports nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from secure_fl.errors import ConfigError, NotPermitted
from secure_fl.imports import NAME, KindOf, import_named, kind_of

ALLOW = "--allow {name}, or allow=({name!r},) in Python, if you trust that code"
ALLOW_NODE = "start the nodes with allow=({name!r},)"


@dataclass(frozen=True)
class Extensions:
    """Imported objects by the names that were permitted.

    Attributes:
        objects: each carries a mark.
        how: how a further name is permitted, for the error that refuses it.
        kind: looks marks up: of rules and stages, and where attacks are known of these.
    """

    objects: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    how: str = ALLOW
    kind: KindOf = kind_of

    def get(self, kind: str, name: str) -> Any:
        """The object of a name.

        Args:
            kind: "attack", "rule", "stage", "dataset" or "model".
            name: "module:name".

        Raises:
            NotPermitted: nobody permitted it.
            ConfigError: it is of another kind.
        """
        if name not in self.objects:
            raise NotPermitted(name, self.how.format(name=name))
        found, marked = self.objects[name], self.kind(self.objects[name])
        if marked != kind:
            raise ConfigError(f"{name!r} must be marked with @{kind}; it is with @{marked}")
        return found


# Nothing but what ships.
NONE = Extensions()


def load_extensions(
    names: Iterable[str],
    folders: Iterable[str] | None = None,
    how: str = ALLOW,
    kind: KindOf = kind_of,
) -> Extensions:
    """Import what a person permitted.

    Args:
        names: "module:name" each.
        folders: where to look after Python's path; default: the current directory.
        how, kind: see `Extensions`.

    Raises:
        ConfigError: a name that is malformed, cannot be imported, or names something unmarked.
    """
    places = None if folders is None else tuple(folders)
    objects = {}
    for name in dict.fromkeys(names):
        try:
            objects[name] = import_named(name, places, kind)
        except ValueError as error:
            raise ConfigError(f"{name!r}: {error}") from error
    return Extensions(MappingProxyType(objects), how, kind)


def is_own(name: object) -> bool:
    """Whether a name stands for code of somebody's own, `module:name`, rather than what ships."""
    return isinstance(name, str) and ":" in name


def check_form(name: str) -> None:
    """Refuse a name that could not be permitted by anybody.

    Raises:
        ConfigError: it is not `module:name`.
    """
    if NAME.fullmatch(name) is None:
        raise ConfigError(f'a name of code of your own must be "module:name"; got {name!r}')


def own_names(rule: object) -> tuple[str, ...]:
    """Names of code of somebody's own in a rule as data: its name, or the stages that it lists."""
    if isinstance(rule, str):
        return (rule,) if is_own(rule) else ()
    listed = rule.get("stages") if isinstance(rule, Mapping) else None
    if not isinstance(listed, list | tuple):
        return ()
    keys = [key for entry in listed for key in (entry if isinstance(entry, Mapping) else [entry])]
    return tuple(dict.fromkeys(key for key in keys if is_own(key)))
