"""Named rules: the pipelines that ship, and how to get one from a name, data or an object."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

from secure_fl.aggregation.pipeline import Pipeline, Stage, from_config, make_stage
from secure_fl.checks import check_types
from secure_fl.descriptions import first_line
from secure_fl.errors import ConfigError, near
from secure_fl.extensions import NONE, Extensions, is_own, load_extensions, own_names
from secure_fl.imports import mark

# Wide enough for most uses.
DEFAULT_MAX_ABS = 128.0
# For rules that take norms or cosines: those of up to 131,072 parameters fit the ring.
NORM_MAX_ABS = 32.0

Builder = Callable[..., Pipeline]
_RULES: dict[str, Builder] = {}


def rule(builder: Builder) -> Builder:
    """Mark a function that returns a pipeline; one in this file ships, under its own name."""
    if builder.__module__ == __name__:
        if builder.__name__ in _RULES:
            raise ConfigError(f"a rule named {builder.__name__} exists already")
        _RULES[builder.__name__] = builder
    return mark("rule", builder)


def rule_names() -> list[str]:
    """Return the names of the shipped rules."""
    return sorted(_RULES)


def describe_rule(name: str) -> str:
    """Return a rule's one-line description."""
    return first_line(_builder(name, NONE))


def _builder(name: str, extensions: Extensions) -> Builder:
    if is_own(name):
        builder: Builder = extensions.get("rule", name)
        return builder
    if name not in _RULES:
        hint = near(name, _RULES)
        raise ConfigError(f"rule must be one of {', '.join(rule_names())}; got {name!r}{hint}")
    return _RULES[name]


def build_rule(spec: str | Mapping[str, Any] | Pipeline | Stage, **params: Any) -> Pipeline:
    """Return a pipeline, for a caller who wrote `spec`: the names in it are thereby permitted.

    Args:
        spec: a rule's name, "module:function" for one of your own marked `@rule`, a pipeline as
            data (`pipeline.from_config`), a single stage, or a pipeline, which is returned as it
            is.
        params: the rule's parameters; only with a name.

    Raises:
        ConfigError: unknown name or parameter; the message lists the choices.
    """
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


@rule
def mean() -> Pipeline:
    """Unweighted mean: no defence; only the sum is opened."""
    return Pipeline((make_stage("weighted_mean", {"by": "uniform"}),))


@rule
def weighted_mean() -> Pipeline:
    """Mean weighted by reputation."""
    return Pipeline((make_stage("weighted_mean", {"by": "reputation"}),))


@rule
def clipped_mean(max_norm: float = 1.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of updates whose norms are bounded under MPC."""
    steps = (make_stage("clip_norm", {"max_norm": max_norm}), _mean())
    return Pipeline(steps, max_abs)


@rule
def median(max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Coordinate-wise median (Yin et al., 2018)."""
    return Pipeline((make_stage("coordinate_median", {}),), max_abs)


@rule
def trimmed_mean(beta: float = 0.2, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Coordinate-wise trimmed mean, floor(beta n) off each end (Yin et al., 2018)."""
    return Pipeline((make_stage("trimmed_mean", {"beta": beta}),), max_abs)


@rule
def mean_around_median(beta: float = 0.2, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Mean of the values nearest to the median, all but floor(beta n) (Xie et al., 2018)."""
    return Pipeline((make_stage("mean_around_median", {"beta": beta}),), max_abs)


def _mean() -> Stage:
    return make_stage("weighted_mean", {"by": "uniform"})


def _screened(reference: str, threshold: float, max_abs: float) -> Pipeline:
    screen = make_stage("cosine_screen", {"reference": reference, "threshold": threshold})
    return Pipeline((screen, _mean()), max_abs)


@rule
def cosine_median(threshold: float = 0.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of the updates that point along the coordinate-wise median."""
    return _screened("median", threshold, max_abs)


@rule
def cosine_pairwise(threshold: float = 0.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of the updates that on average point along the others."""
    return _screened("pairwise", threshold, max_abs)


@rule
def cosine_root(threshold: float = 0.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of the updates that point along a public root direction (after FLTrust, 2021)."""
    return _screened("root", threshold, max_abs)


@rule
def algorithm2(
    max_norm: float = 1.0, threshold: float = 0.0, beta: float = 0.2, max_abs: float = 2.0
) -> Pipeline:
    """The paper's Algorithm 2: normalize, screen, median, trim, weight by reputation.

    Our reading of its order. 1. Normalize: bound every norm. 2. Filter: reject where the cosine
    to the median of the normalized updates is below the threshold. 3. Median of the rest, which
    4. replaces the trimmed extremes of every coordinate. 5. The mean of these, weighted by
    reputation. 6 (validate) and 7 (record) follow outside the aggregation.
    """
    steps = (
        make_stage("clip_norm", {"max_norm": max_norm}),
        make_stage("cosine_screen", {"reference": "median", "threshold": threshold}),
        make_stage("trim_to_median", {"beta": beta}),
        make_stage("weighted_mean", {"by": "reputation"}),
    )
    return Pipeline(steps, max_abs)


@rule
def guarded(
    max_norm: float = 1.0, ratio: float = 0.25, deviations: float = 9.0, max_abs: float = 2.0
) -> Pipeline:
    """Screen by accumulated direction against a public root, then weight by reputation."""
    screen = {"max_norm": max_norm, "ratio": ratio, "deviations": deviations}
    steps = (
        make_stage("trust_screen", screen),
        make_stage("weighted_mean", {"by": "reputation"}),
    )
    return Pipeline(steps, max_abs)
