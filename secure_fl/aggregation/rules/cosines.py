"""Rules that compare directions."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import NORM_MAX_ABS, rule


def _screened(reference: str, threshold: float, max_abs: float) -> Pipeline:
    screen = make_stage("cosine_screen", {"reference": reference, "threshold": threshold})
    return Pipeline((screen, make_stage("weighted_mean", {"by": "uniform"})), max_abs)


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
def fltrust(max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Updates at the root's length, weighed by their cosines with it (FLTrust, 2021)."""
    return Pipeline((make_stage("fltrust", {}),), max_abs)


@rule
def clustering(max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of the larger of two clusters of directions (Sattler et al., 2020)."""
    return Pipeline(
        (make_stage("clustering", {}), make_stage("weighted_mean", {"by": "uniform"})), max_abs
    )


@rule
def clipped_clustering(window: int = 5, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Clip to the median of past lengths, then the larger of two clusters (Li et al., 2023)."""
    return Pipeline((make_stage("clipped_clustering", {"window": window}),), max_abs)


@rule
def flame(threshold: float = 0.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean, bounded by the median length, of who points along most (after FLAME, 2022)."""
    return Pipeline((make_stage("flame", {"threshold": threshold}),), max_abs)


@rule
def foolsgold(max_norm: float = 1.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Weighs down whose history resembles another's (Fung et al., 2020); rejects nobody."""
    clip = make_stage("clip_norm", {"max_norm": max_norm})
    return Pipeline((clip, make_stage("foolsgold", {})), max_abs)
