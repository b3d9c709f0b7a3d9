"""Find data sets by file name: each module of `secure_fl.data.sets` is one, its `load` reads it."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import secure_fl.data.sets as package
from secure_fl.data.dataset import Dataset
from secure_fl.descriptions import first_line
from secure_fl.errors import ConfigError, InputError, near, require
from secure_fl.extensions import NONE, Extensions, is_own
from secure_fl.imports import mark

Loader = Callable[[Path | None], Dataset]


def dataset(loader: Loader) -> Loader:
    """Mark a function of one's own, `load(path) -> Dataset`, so that its name may stand for it."""
    return mark("dataset", loader)


def _modules() -> dict[str, ModuleType]:
    found = {}
    for info in pkgutil.iter_modules(package.__path__):
        found[info.name] = importlib.import_module(f"{package.__name__}.{info.name}")
    return found


def names() -> list[str]:
    """Names of all data sets, sorted."""
    return sorted(_modules())


def describe(name: str) -> str:
    """The first docstring line of a data set's module."""
    return first_line(_module(name))


def shipped(name: str) -> bool:
    """Whether a data set is in the package, so that nobody needs files for it."""
    return hasattr(_module(name), "SHA256")


def load(
    name: str,
    path: str | Path | None = None,
    extensions: Extensions = NONE,
    **options: Any,
) -> Dataset:
    """Load a data set by name.

    Args:
        name: one of `names()`, or `module:function` marked `@dataset`.
        path: where the user keeps the files, for data sets that are not shipped.
        extensions: code of one's own that was permitted.
        options: what its module names in `OPTIONS`, such as the column of labels.

    Raises:
        InputError: unknown name, missing files, altered content, or an option that is not its own.
        NotPermitted: code of somebody's own that is not among the extensions.
        ConfigError: it returned no `Dataset`.
    """
    loader: Callable[..., Any]
    loader = extensions.get("dataset", name) if is_own(name) else _module(name).load
    for key in options:
        takers = [each for each in names() if key in options_of(each)]
        rule = f"left out: it is for {', '.join(takers)}"
        require(key in options_of(name), f"data.{key} with data.name {name}", rule, options[key])
    if path is not None:
        plain = Path(path).is_file() or Path(path).is_dir()  # no pipe, no device without an end
        require(plain, "data.path", "an existing file or folder", str(path))
    loaded = loader(None if path is None else Path(path), **options)
    if not isinstance(loaded, Dataset):
        raise ConfigError(f"data {name!r} must return a Dataset; got {type(loaded).__name__}")
    return loaded


def options_of(name: str) -> tuple[str, ...]:
    """Names of the options that a data set's `load` takes beside the path."""
    return () if is_own(name) else tuple(getattr(_module(name), "OPTIONS", ()))


def _module(name: str) -> ModuleType:
    modules = _modules()
    if name not in modules:
        hint = near(name, modules)
        listed = ", ".join(sorted(modules))
        raise InputError(f"data set must be one of {listed}; got {name!r}{hint}")
    return modules[name]
