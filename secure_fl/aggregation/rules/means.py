"""Means of everybody. They reject nobody."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import rule


@rule
def mean() -> Pipeline:
    """Unweighted mean: no defence; only the sum is opened."""
    return Pipeline((make_stage("weighted_mean", {"by": "uniform"}),))


@rule
def weighted_mean() -> Pipeline:
    """Mean weighted by reputation."""
    return Pipeline((make_stage("weighted_mean", {"by": "reputation"}),))
