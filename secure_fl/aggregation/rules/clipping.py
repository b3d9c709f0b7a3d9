"""Rules that bound lengths. But for the screen they reject nobody."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, Stage, make_stage
from secure_fl.aggregation.rules.registry import NORM_MAX_ABS, rule


def _mean() -> Stage:
    return make_stage("weighted_mean", {"by": "uniform"})


@rule
def clipped_mean(max_norm: float = 1.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of updates whose norms are bounded under MPC."""
    return Pipeline((make_stage("clip_norm", {"max_norm": max_norm}), _mean()), max_abs)


@rule
def norm_clipping(max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of updates whose norms are bounded by the median norm (FLAME, 2022)."""
    return Pipeline((make_stage("clip_to_median", {}), _mean()), max_abs)


@rule
def norm_screen(max_norm: float = 1.0, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of the updates that are no longer than a bound."""
    return Pipeline((make_stage("norm_screen", {"max_norm": max_norm}), _mean()), max_abs)


@rule
def arc(num_malicious: int | None = None, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean after adaptive robust clipping to an order statistic of norms (Allouah et al., 2025)."""
    clip = make_stage("arc", {"num_malicious": num_malicious})
    return Pipeline((clip, _mean()), max_abs)


@rule
def centered_clipping(
    tau: float = 1.0, iterations: int = 1, max_abs: float = NORM_MAX_ABS
) -> Pipeline:
    """Move the last aggregate by clipped differences to it (Karimireddy et al., 2021)."""
    move = make_stage("centered_clipping", {"tau": tau, "iterations": iterations})
    return Pipeline((move,), max_abs)


@rule
def crfl(max_norm: float = 1.0, sigma: float = 0.001, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of clipped updates and public noise: what CRFL does in training (Xie et al., 2021)."""
    clip = make_stage("clip_norm", {"max_norm": max_norm})
    return Pipeline((clip, make_stage("public_noise", {"sigma": sigma}), _mean()), max_abs)
