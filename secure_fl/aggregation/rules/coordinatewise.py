"""Rules that look at every coordinate by itself. They reject nobody."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import DEFAULT_MAX_ABS, NORM_MAX_ABS, rule


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


@rule
def phocas(num_malicious: int | None = None, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Mean of the values nearest to the trimmed mean (Xie et al., 2018)."""
    return Pipeline((make_stage("phocas", {"num_malicious": num_malicious}),), max_abs)


@rule
def weighted_median(by: str = "reputation", max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Coordinate-wise median in which hospitals count by a public weight."""
    return Pipeline((make_stage("weighted_median", {"by": by}),), max_abs)


@rule
def foundation_fl(synthetic: float = 0.5, max_abs: float = NORM_MAX_ABS / 2) -> Pipeline:
    """Median among added copies of the most central update (FoundationFL, 2025)."""
    return Pipeline((make_stage("foundation", {"synthetic": synthetic}),), max_abs)
