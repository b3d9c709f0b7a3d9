"""Rules that look at signs. The first two reject nobody."""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import DEFAULT_MAX_ABS, NORM_MAX_ABS, rule


@rule
def sign_majority(step: float = 2.0**-10, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """One step in every coordinate, as most signs go: signSGD by vote (Bernstein et al., 2019)."""
    return Pipeline((make_stage("sign_majority", {"step": step}),), max_abs)


@rule
def robust_learning_rate(agreement: float = 0.4, max_abs: float = DEFAULT_MAX_ABS) -> Pipeline:
    """Mean, turned around where too few signs agree (Ozdayi et al., 2021)."""
    return Pipeline((make_stage("robust_learning_rate", {"agreement": agreement}),), max_abs)


@rule
def signguard(
    lower: float = 0.1,
    upper: float = 3.0,
    share: float = 0.1,
    deviations: float = 3.0,
    max_abs: float = NORM_MAX_ABS,
) -> Pipeline:
    """Mean after a norm band and a screen by sign statistics (SignGuard, 2022)."""
    screen = {"lower": lower, "upper": upper, "share": share, "deviations": deviations}
    steps = (make_stage("sign_screen", screen), make_stage("weighted_mean", {"by": "uniform"}))
    return Pipeline(steps, max_abs)


@rule
def alignins(
    fraction: float = 0.3,
    sign_deviations: float = 1.0,
    cosine_deviations: float = 1.0,
    max_abs: float = NORM_MAX_ABS,
) -> Pipeline:
    """Mean after screens by direction and signs against the global model (AlignIns, 2025)."""
    screen = {
        "fraction": fraction,
        "sign_deviations": sign_deviations,
        "cosine_deviations": cosine_deviations,
    }
    steps = (
        make_stage("alignment_screen", screen),
        make_stage("clip_to_median", {}),
        make_stage("weighted_mean", {"by": "uniform"}),
    )
    return Pipeline(steps, max_abs)
