"""The one place where a name becomes code: import the object that `module:name` stands for.

Settings, records and messages hold names; nothing here is called for a name because it stands in
one of them. Whoever calls `import_named` was told the name by the person who runs the program.

What is imported must carry the mark of a decorator, `@rule`, `@stage`, `@dataset` or `@model` here,
which is looked up before the object is called. The mark is the decorator's entry in a table, by
identity: an attribute of the object says nothing. `@attack` has a table of its own, in
`attacks.base`, which computing nodes do not load: whoever takes attacks too hands in a look-up in
both (`secure_fl.settings.permitted`).
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType
from typing import TypeVar

from secure_fl.errors import near

T = TypeVar("T")
# Which decorator marked an object; None for one without a mark.
KindOf = Callable[[object], str | None]

# ASCII alone, so that no two names that look alike differ.
NAME = re.compile(r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)

# By id; holding the object keeps its id its own.
_MARKS: dict[int, tuple[str, object]] = {}


def mark(kind: str, made: T) -> T:
    """Enter an object into the table of marks; for the decorators.

    Args:
        kind: "rule", "stage", "dataset" or "model".
        made: what the decorator returns.
    """
    _MARKS[id(made)] = (kind, made)
    return made


def kind_of(thing: object) -> str | None:
    """Which decorator of this package marked an object; None for one without a mark."""
    kind, marked = _MARKS.get(id(thing), (None, None))
    return kind if marked is thing else None


def marked_names(module: ModuleType, kind: KindOf = kind_of) -> list[str]:
    """Names in a module whose objects carry a mark, sorted."""
    return sorted(name for name, value in vars(module).items() if kind(value) is not None)


class _Last(MetaPathFinder):
    """Finds modules in folders of the person's own, when nothing else finds them.

    A folder at the end of `sys.path` would come before packages installed for development, so that
    a file `attacks.py` or `ledger.py` of the person's could stand in for ours.
    """

    def __init__(self) -> None:
        self.folders: list[str] = []

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a module that is in no package."""
        return PathFinder.find_spec(fullname, self.folders) if path is None else None


_LAST = _Last()


def look_in(folders: Iterable[str]) -> None:
    """Let modules be found in these folders too, after all other places; from now on."""
    if _LAST not in sys.meta_path:
        sys.meta_path.append(_LAST)
    _LAST.folders += [folder for folder in folders if folder not in _LAST.folders]
    importlib.invalidate_caches()  # a file written a moment ago


def import_named(name: str, folders: Iterable[str] | None = None, kind: KindOf = kind_of) -> object:
    """Import a marked object.

    Args:
        name: "module:name", as the person who runs the program wrote it.
        folders: where to look after Python's path; default: the current directory.
        kind: looks marks up.

    Raises:
        ValueError: not of this form, no such module or name, or without a mark.
    """
    if NAME.fullmatch(name) is None:
        raise ValueError(f'a name of your own code must be "module:name"; got {name!r}')
    look_in([os.getcwd()] if folders is None else folders)
    module_name, _, attribute = name.partition(":")
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError) as error:
        raise ValueError(f"cannot import {module_name!r}: {error}") from error
    found, marked = vars(module).get(attribute), marked_names(module, kind)
    listed = ", ".join(marked) or "none"
    place = getattr(module, "__file__", None) or "built in"
    if attribute not in vars(module):
        raise ValueError(
            f"{module_name} ({place}) has no {attribute!r}{near(attribute, marked)}; marked in it: "
            f"{listed}"
        )
    if kind(found) is None:
        raise ValueError(
            f"{attribute!r} of {module_name} ({place}) is not marked with @rule or "
            f"@stage, nor for a run with @attack, @dataset or @model; what is: {listed}"
        )
    return found
