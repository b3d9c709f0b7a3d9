"""Rules made of distances between updates. Without `verdicts` they open nothing and reject nobody.

`num_malicious` is how many malicious hospitals a rule bears; None stands for the largest number
that it can bear among those in play.
"""

from __future__ import annotations

from secure_fl.aggregation.pipeline import Pipeline, make_stage
from secure_fl.aggregation.rules.registry import NORM_MAX_ABS, rule

# Products of secret weights and inner products keep 40 bits of the largest that fits.
WEIGHTS_MAX_ABS = 2.0


@rule
def krum(
    num_malicious: int | None = None, verdicts: bool = False, max_abs: float = NORM_MAX_ABS
) -> Pipeline:
    """The update nearest to its neighbours (Blanchard et al., 2017); rejects nobody."""
    params = {"num_malicious": num_malicious, "verdicts": verdicts}
    return Pipeline((make_stage("krum", params),), max_abs)


@rule
def multi_krum(
    num_malicious: int | None = None,
    keep: int | None = None,
    verdicts: bool = False,
    max_abs: float = NORM_MAX_ABS,
) -> Pipeline:
    """Mean of the n - f updates of best Krum score (Blanchard et al., 2017); rejects nobody."""
    params = {"num_malicious": num_malicious, "keep": keep, "verdicts": verdicts}
    return Pipeline((make_stage("multi_krum", params),), max_abs)


@rule
def bulyan(num_malicious: int | None = None, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Krum's best, then mean around the median (El Mhamdi et al., 2018); rejects nobody."""
    return Pipeline((make_stage("bulyan", {"num_malicious": num_malicious}),), max_abs)


@rule
def geometric_median(
    smoothing: float = 0.01,
    steps: int = 5,
    start: str = "mean",
    max_abs: float = WEIGHTS_MAX_ABS,
) -> Pipeline:
    """Geometric median by smoothed Weiszfeld steps (RFA, Pillutla et al., 2022); rejects nobody."""
    params = {"smoothing": smoothing, "steps": steps, "start": start}
    return Pipeline((make_stage("geometric_median", params),), max_abs)


@rule
def nnm(num_malicious: int | None = None, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Mean of nearest-neighbour mixtures (Allouah et al., 2023); rejects nobody."""
    mix = make_stage("nnm", {"num_malicious": num_malicious})
    return Pipeline((mix, make_stage("weighted_mean", {"by": "uniform"})), max_abs)


@rule
def nnm_median(num_malicious: int | None = None, max_abs: float = NORM_MAX_ABS) -> Pipeline:
    """Median of nearest-neighbour mixtures (Allouah et al., 2023); rejects nobody."""
    mix = make_stage("nnm", {"num_malicious": num_malicious})
    return Pipeline((mix, make_stage("coordinate_median", {})), max_abs)


@rule
def monna(
    pivot: int = 0,
    num_malicious: int | None = None,
    verdicts: bool = False,
    max_abs: float = NORM_MAX_ABS,
) -> Pipeline:
    """Mean of the n - f updates nearest to a trusted one (Farhadkhani, 2023); rejects nobody."""
    params = {"pivot": pivot, "num_malicious": num_malicious, "verdicts": verdicts}
    return Pipeline((make_stage("monna", params),), max_abs)


@rule
def cge(
    num_malicious: int | None = None, verdicts: bool = False, max_abs: float = NORM_MAX_ABS
) -> Pipeline:
    """Mean of the n - f shortest updates (Gupta et al., 2020); rejects nobody."""
    params = {"num_malicious": num_malicious, "verdicts": verdicts}
    return Pipeline((make_stage("cge", params),), max_abs)


@rule
def dnc(
    num_malicious: int | None = None,
    columns: int = 10_000,
    verdicts: bool = False,
    max_abs: float = WEIGHTS_MAX_ABS,
) -> Pipeline:
    """Mean without the f farthest along the main spread (Shejwalkar, 2021); rejects nobody."""
    params = {"num_malicious": num_malicious, "columns": columns, "verdicts": verdicts}
    return Pipeline((make_stage("dnc", params),), max_abs)


@rule
def caf(num_malicious: int | None = None, max_abs: float = WEIGHTS_MAX_ABS) -> Pipeline:
    """Mean by weights of least spread, n <= 64 (CAF, Allouah et al., 2025); rejects nobody."""
    return Pipeline((make_stage("caf", {"num_malicious": num_malicious}),), max_abs)


@rule
def mda(
    num_malicious: int | None = None, verdicts: bool = False, max_abs: float = NORM_MAX_ABS
) -> Pipeline:
    """Mean of the n - f updates of least diameter, n <= 15 (El Mhamdi, 2021); rejects nobody."""
    params = {"num_malicious": num_malicious, "verdicts": verdicts}
    return Pipeline((make_stage("mda", params),), max_abs)
