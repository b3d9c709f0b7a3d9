"""Rules that bound lengths. They reject nobody."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import NORM_MAX_ABS, rule


@rule
def clipped_mean(max_norm: float = 1.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of updates whose norms are bounded under MPC."""
    clip = make_stage("clip_norm", {"max_norm": max_norm})
    return Pipeline((clip, make_stage("weighted_mean", {"by": "uniform"})), max_abs)
