"""Rules on means of groups of hospitals. They reject nobody."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import DEFAULT_MAX_ABS, rule


@rule
def bucketing(size: int = 2, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Median of means of random groups (Karimireddy et al., 2022)."""
    steps = (make_stage("bucketing", {"size": size}), make_stage("coordinate_median", {}))
    return Pipeline(steps, max_abs)


@rule
def flcert(count: int = 5, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Median of means of fixed groups: FLCert's majority vote on an update (Cao et al., 2022)."""
    steps = (make_stage("grouping", {"count": count}), make_stage("coordinate_median", {}))
    return Pipeline(steps, max_abs)
