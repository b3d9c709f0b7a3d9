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


@rule
def mean_by_samples() -> Pipeline:
    """Mean weighted by the hospitals' numbers of rows: FedAvg (McMahan et al., 2017)."""
    return Pipeline((make_stage("weighted_mean", {"by": "samples"}),))
