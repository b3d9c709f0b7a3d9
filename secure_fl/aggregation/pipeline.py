"""A robust rule as a chain of small pure stages.

A stage is a factory decorated with `stage`: it takes hyper-parameters, checks them, and returns a
`Stage`, a pair of pure functions. State over rounds (for example accumulated updates) is explicit:
`init` makes it, `apply` takes it and returns the next.

A pipeline is data: `to_config` gives JSON from which every computing node builds the same rule.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import math
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

from secure_fl.aggregation.context import WEIGHTS as WEIGHTS
from secure_fl.aggregation.context import Context as Context
from secure_fl.aggregation.openings import THE_UPDATE, Opens
from secure_fl.aggregation.ops import FRACTION_BITS
from secure_fl.aggregation.ranges import WIDTHLESS_BITS
from secure_fl.checks import check_types
from secure_fl.errors import ConfigError, InputError, near, require
from secure_fl.extensions import NONE, Extensions, is_own
from secure_fl.imports import mark
from secure_fl.types import Opening

State = Any


@dataclass(frozen=True)
class Stage:
    """One step of a rule.

    Attributes:
        apply: (context, state) -> (context, state).
        opens: the values that it opens, in order, each time that it runs.
        init: state before the first round.
        linear: true if it only sums rows with public weights, so that no bound is needed.
        weighs_samples: true if it uses `context.samples`.
        uses_model: true if it uses `context.surroundings.model`.
        uses_reference: true if it cannot do without `context.reference`, a public direction.
        needs: fewest rows with which it can keep its promise; with fewer nothing is combined.
        leaves: how many rows it leaves at the most, by how many there are.
        most: most hospitals for which it can be computed; None: any number.
        config: how to make it again: ("name" or "module:function", parameters).
    """

    apply: Callable[[Context, State], tuple[Context, State]]
    opens: tuple[Opens, ...] = ()
    init: Callable[[], State] = lambda: None
    linear: bool = False
    weighs_samples: bool = False
    uses_model: bool = False
    uses_reference: bool = False
    needs: int = 1
    leaves: Callable[[int], int] = lambda rows: rows
    most: int | None = None
    config: tuple[str, Mapping[str, Any]] = ("", MappingProxyType({}))

    def __post_init__(self) -> None:
        good = isinstance(self.opens, tuple) and all(isinstance(o, Opens) for o in self.opens)
        require(good, "opens of a stage", "a tuple of Opens", self.opens)


_STAGES: dict[str, Callable[..., Stage]] = {}


def stage(factory: Callable[..., Stage]) -> Callable[..., Stage]:
    """Register a stage factory under its own name and remember how each stage was made."""
    inside = factory.__module__.startswith("secure_fl.aggregation.stages.")
    name = factory.__name__ if inside else f"{factory.__module__}:{factory.__name__}"
    signature = inspect.signature(factory)

    @functools.wraps(factory)
    def make(*args: Any, **kwargs: Any) -> Stage:
        try:
            bound = signature.bind(*args, **kwargs)
        except TypeError as error:
            allowed = ", ".join(signature.parameters) or "none"
            raise ConfigError(f"stage {name}: {error}; its parameters are: {allowed}") from error
        check_types(factory, bound.arguments)
        bound.apply_defaults()
        return replace(factory(*args, **kwargs), config=(name, dict(bound.arguments)))

    if name in _STAGES:
        raise ConfigError(f"a stage named {name} exists already")
    if inside:
        _STAGES[name] = make
    return mark("stage", make)


def stage_factories() -> dict[str, Callable[..., Stage]]:
    """Return the shipped stage factories by name, found by walking the package."""
    _load_stages()
    return dict(sorted(_STAGES.items()))


@functools.cache
def _load_stages() -> None:
    package = importlib.import_module("secure_fl.aggregation.stages")
    for module in pkgutil.iter_modules(package.__path__):
        importlib.import_module(f"{package.__name__}.{module.name}")


def make_stage(name: str, params: Mapping[str, Any], extensions: Extensions = NONE) -> Stage:
    """Make a stage from its name and parameters.

    Args:
        name: of a stage that ships, or "module:function" of one in `extensions`.
        params: its parameters.
        extensions: stages of one's own that were permitted.

    Raises:
        ConfigError: no such stage or parameter.
        NotPermitted: a stage of somebody's own that is not among the extensions.
    """
    if is_own(name):
        factory = extensions.get("stage", name)
    else:
        known = stage_factories()
        if name not in known:
            hint = near(name, known)
            raise ConfigError(f"stage must be one of {', '.join(known)}; got {name!r}{hint}")
        factory = known[name]
    made = factory(**params)
    if not isinstance(made, Stage):
        raise ConfigError(f"stage {name!r} must return a Stage; got {type(made).__name__}")
    return made


@dataclass(frozen=True)
class Pipeline:
    """A robust rule: stages in order, the last of which leaves a combined update.

    Attributes:
        max_abs: every coordinate lies in [-max_abs, max_abs). Under MPC a submission is read
            modulo the width that this gives, so it cannot lie outside. None only for rules that
            are linear throughout, which work in the full ring.
    """

    stages: tuple[Stage, ...]
    max_abs: float | None = None

    def __post_init__(self) -> None:
        require(len(self.stages) > 0, "stages", "at least one", self.stages)
        names = self.opens
        require(len(set(names)) == len(names), "names of openings", "distinct", names)
        if self.max_abs is None:
            crooked = [s.config[0] for s in self.stages if not s.linear]
            require(not crooked, "max_abs", f"given, since of {crooked} not all are linear", None)
        else:
            require(2**-8 <= self.max_abs <= 2**14, "max_abs", "in [2^-8, 2^14]", self.max_abs)

    @property
    def bits(self) -> int:
        """Width of an encoded coordinate, sign included; 64 for linear rules."""
        if self.max_abs is None:
            return 64
        return 1 + FRACTION_BITS + math.ceil(math.log2(self.max_abs))

    @property
    def limit(self) -> float:
        """Coordinates must be below this in magnitude to be encoded."""
        return 2.0 ** (min(self.bits, WIDTHLESS_BITS) - 1 - FRACTION_BITS)

    @property
    def weighs_samples(self) -> bool:
        """Whether the rule uses how many rows each hospital has."""
        return any(s.weighs_samples for s in self.stages)

    @property
    def uses_model(self) -> bool:
        """Whether the rule uses the global model of the round."""
        return any(s.uses_model for s in self.stages)

    @property
    def uses_reference(self) -> bool:
        """Whether the rule cannot do without a public direction."""
        return any(s.uses_reference for s in self.stages)

    @property
    def judges(self) -> bool:
        """Whether it opens verdicts on hospitals; others take all as they come."""
        return any(opens.unit is None for s in self.stages for opens in s.opens)

    @property
    def opens(self) -> tuple[str, ...]:
        """Names of all values that the rule opens, in order."""
        return tuple(opens.name for opens in self._declared)

    @property
    def _declared(self) -> tuple[Opens, ...]:
        return (*(opens for s in self.stages for opens in s.opens), THE_UPDATE)

    @property
    def most_hospitals(self) -> int | None:
        """Most hospitals that it takes; None: any number."""
        return min((s.most for s in self.stages if s.most is not None), default=None)

    @property
    def own_stages(self) -> tuple[str, ...]:
        """Names of the stages that do not ship: nodes must have been started with them."""
        return tuple(dict.fromkeys(s.config[0] for s in self.stages if is_own(s.config[0])))

    def declaration(self, hospitals: int, dim: int) -> list[Opening]:
        """Return what the rule opens, with shapes, when no hospital is absent."""
        return [opens.opening(hospitals, dim) for opens in self._declared]

    def init(self) -> tuple[State, ...]:
        """Return the stages' states before the first round."""
        return tuple(s.init() for s in self.stages)

    def check_hospitals(self, hospitals: int) -> None:
        """Raise `InputError` where a stage needs more rows than are left for it, or takes fewer."""
        rows = hospitals
        for name, each in ((s.config[0], s) for s in self.stages):
            borne = each.config[1].get("num_malicious")
            what = "work with" if borne is None else f"bear num_malicious={borne} of"
            groups = "" if rows == hospitals else f" in {rows} groups"
            refused = f"the rule cannot {what} {hospitals} hospitals{groups}: {name}"
            if rows < each.needs:
                raise InputError(f"{refused} needs at least {each.needs}")
            if each.most is not None and rows > each.most:
                raise InputError(f"{refused} takes at most {each.most}")
            rows = each.leaves(rows)

    def to_config(self) -> dict[str, Any]:
        """Return the pipeline as plain data."""
        steps = [{name: dict(params)} for name, params in (s.config for s in self.stages)]
        return {"max_abs": self.max_abs, "stages": steps}


def from_config(config: Mapping[str, Any], extensions: Extensions = NONE) -> Pipeline:
    """Build a pipeline from `{"max_abs": ..., "stages": [{name: {parameter: value}}, ...]}`.

    Args:
        config: data, from wherever.
        extensions: stages of one's own that may stand in it.
    """
    unknown = sorted(set(config) - {"max_abs", "stages"})
    if unknown:
        raise ConfigError(f"a pipeline's keys are max_abs and stages; got {unknown}")
    listed, max_abs = config.get("stages", ()), config.get("max_abs")
    require(isinstance(listed, list | tuple), "stages", "a list", listed)
    number = isinstance(max_abs, int | float) and not isinstance(max_abs, bool)
    require(max_abs is None or number, "max_abs", "null or a number", max_abs)
    made = []
    for entry in listed:
        if isinstance(entry, str):
            entry = {entry: {}}
        if not isinstance(entry, Mapping) or len(entry) != 1:
            raise ConfigError(f"a stage must be {{name: {{parameter: value}}}}; got {entry!r}")
        ((name, params),) = entry.items()
        named = isinstance(params, Mapping) and all(isinstance(key, str) for key in params)
        require(params is None or named, f"parameters of stage {name}", "null or a mapping", params)
        made.append(make_stage(name, params or {}, extensions))
    return Pipeline(tuple(made), max_abs)
