"""Rules that compare a hospital's updates of several rounds."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import NORM_MAX_ABS, rule


@rule
def fldetector(deviations: float = 3.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of the updates that follow from earlier ones (after FLDetector, 2022)."""
    screen = make_stage("consistency_screen", {"deviations": deviations})
    return Pipeline((screen, make_stage("weighted_mean", {"by": "uniform"})), max_abs)
