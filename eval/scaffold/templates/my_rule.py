"""A rule of your own; docs/extending.md tells what a stage can compute with."""

from __future__ import annotations

from secure_fl.aggregation import Context, Opens, Pipeline, Stage, make_stage, rule, stage
from secure_fl.errors import require


@stage
def my_rule_screen(factor: float = 2.0) -> Stage:
    """Reject updates longer than `factor` times the median length.

    Reveals: accepted, one bit a hospital.  Cost: n d squares, a median of n scalars.

    Args:
        factor: from 1 to 16.
    """
    require(1 <= factor <= 16, "factor", "from 1 to 16", factor)

    def apply(context: Context, state: object) -> tuple[Context, object]:
        ops = context.ops
        squared = ops.squared_norms(context.x)  # (m,), which nobody can look at
        kept = squared < ops.median_of(squared) * factor**2
        return context.reject(ops.open("accepted", kept)), state

    return Stage(apply, opens=(Opens("accepted"),))


@rule
def my_rule(factor: float = 2.0) -> Pipeline:
    """Coordinate-wise median of the updates of ordinary length."""
    stages = (my_rule_screen(factor), make_stage("coordinate_median", {}))
    return Pipeline(stages, max_abs=8.0)  # every coordinate lies in [-8, 8)
