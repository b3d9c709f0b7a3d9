"""Rules of several defences in a row."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import rule


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
    max_norm: float = 1.0,
    ratio: float = 0.25,
    deviations: float = 9.0,
    spared: float = 1.0,
    max_abs: float = 2.0,
) -> Pipeline:
    """Screen by accumulated direction against a public root, then weight by reputation."""
    screen = {"max_norm": max_norm, "ratio": ratio, "deviations": deviations, "spared": spared}
    steps = (
        make_stage("trust_screen", screen),
        make_stage("weighted_mean", {"by": "reputation"}),
    )
    return Pipeline(steps, max_abs)
