"""Rules by name: how to get a pipeline from a name, data or an object.

The rules that ship stand in the other files of this folder, a family a file, and are found there.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any

from secure_fl.aggregation.pipeline import Pipeline, Stage, from_config, stage_factories
from secure_fl.checks import check_types
from secure_fl.descriptions import first_line
from secure_fl.errors import ConfigError, near
from secure_fl.extensions import NONE, Extensions, is_own, load_extensions, own_names
from secure_fl.imports import mark
from secure_fl.installed import resolve, resolve_stages

# Wide enough for most uses.
DEFAULT_MAX_ABS = 128.0
# For rules that take norms or cosines: those of up to 131,072 parameters fit the ring.
NORM_MAX_ABS = 32.0

LEFT_OUT = {
    "deepsight": "it runs every hospital's model on random inputs and clusters the outputs, which "
    "rules on updates cannot do: they see no network",
    "flare": "it compares hidden layers of every hospital's model on public rows, which rules on "
    "updates cannot do: they see no network",
    "lasa": "it judges every layer of a network by itself, which rules on updates are not told of",
    "smea": "it wants the largest eigenvalue of the covariance of every subset of n - f updates, "
    "which are too many to compute with in secret",
}
"""Rules of the field that nothing here stands for, and why."""

Builder = Callable[..., Pipeline]


def check_not_left_out(name: str) -> None:
    """Refuse a rule of the field that is left out, with the reason.

    Raises:
        ConfigError: it is one of `LEFT_OUT`.
    """
    if name in LEFT_OUT:
        raise ConfigError(f"rule {name} is not among those that ship: {LEFT_OUT[name]}")


_PACKAGE = __name__.rpartition(".")[0]
_RULES: dict[str, Builder] = {}


def rule(builder: Builder) -> Builder:
    """Mark a function that returns a pipeline; one in this folder ships, under its own name."""
    if builder.__module__.startswith(_PACKAGE + "."):
        if builder.__name__ in _RULES:
            raise ConfigError(f"a rule named {builder.__name__} exists already")
        _RULES[builder.__name__] = builder
    return mark("rule", builder)


@functools.cache
def _load_families() -> None:
    package = importlib.import_module(_PACKAGE)
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{_PACKAGE}.{module.name}")


def rule_builders() -> dict[str, Builder]:
    """Return the functions of the shipped rules by name, found by walking the folder."""
    _load_families()
    return dict(sorted(_RULES.items()))


def rule_names() -> list[str]:
    """Return the names of the shipped rules."""
    return list(rule_builders())


def describe_rule(name: str) -> str:
    """Return a rule's one-line description."""
    return first_line(_builder(name, NONE))


def rule_parameters(name: str) -> list[str]:
    """Return the names of a shipped rule's parameters."""
    return list(inspect.signature(_builder(name, NONE)).parameters)


def _builder(name: str, extensions: Extensions) -> Builder:
    if is_own(name):
        builder: Builder = extensions.get("rule", name)
        return builder
    known = rule_builders()
    check_not_left_out(name)
    if name not in known:
        hint = near(name, known)
        raise ConfigError(f"rule must be one of {', '.join(known)}; got {name!r}{hint}")
    return known[name]


def resolve_rule(spec: Any) -> Any:
    """A rule as a person wrote it, with `module:name` for what installed packages register.

    Args:
        spec: a name, a pipeline as data, or anything else, which is returned as it is.

    Raises:
        ConfigError: a registered name that cannot be (`secure_fl.installed.resolve`).
    """
    if isinstance(spec, str):
        return resolve("rule", spec, rule_builders())
    return resolve_stages(spec, stage_factories()) if isinstance(spec, Mapping) else spec


def build_rule(spec: str | Mapping[str, Any] | Pipeline | Stage, **params: Any) -> Pipeline:
    """Return a pipeline, for a caller who wrote `spec`: the names in it are thereby permitted.

    Args:
        spec: a rule's name, that of one which an installed package registers, "module:function"
            for one of your own marked `@rule`, a pipeline as data (`pipeline.from_config`), a
            single stage, or a pipeline, which is returned as it is.
        params: the rule's parameters; only with a name.

    Raises:
        ConfigError: unknown name or parameter; the message lists the choices.
    """
    spec = resolve_rule(spec)
    return make_rule(spec, params, load_extensions(own_names(spec)))


def make_rule(
    spec: str | Mapping[str, Any] | Pipeline | Stage,
    params: Mapping[str, Any],
    extensions: Extensions,
) -> Pipeline:
    """Return a pipeline from names out of a file or a message: `build_rule` that imports nothing.

    Args:
        spec, params: see `build_rule`.
        extensions: code of one's own that was permitted.

    Raises:
        ConfigError: unknown name or parameter.
        NotPermitted: code of somebody's own that is not among the extensions.
    """
    if isinstance(spec, Pipeline):
        made: Any = spec
    elif isinstance(spec, Stage):
        made = Pipeline((spec,), DEFAULT_MAX_ABS)
    elif isinstance(spec, Mapping):
        made = from_config(spec, extensions)
    else:
        builder = _builder(spec, extensions)
        signature = inspect.signature(builder)
        unknown = sorted(set(params) - set(signature.parameters))
        if unknown:
            allowed = ", ".join(signature.parameters) or "none"
            hint = near(unknown[0], signature.parameters)
            raise ConfigError(
                f"rule {spec} has no parameter {unknown[0]!r}{hint}; it has: {allowed}"
            )
        check_types(builder, params)
        return _checked(builder(**params), spec)
    if params:
        raise ConfigError(f"parameters go with a rule's name only; got {sorted(params)}")
    return made


def _checked(made: Any, spec: str) -> Pipeline:
    if isinstance(made, Stage):
        return Pipeline((made,), DEFAULT_MAX_ABS)
    if not isinstance(made, Pipeline):
        raise ConfigError(f"rule {spec!r} must return a Pipeline; got {type(made).__name__}")
    return made
