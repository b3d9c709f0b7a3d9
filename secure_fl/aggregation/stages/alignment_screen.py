"""Reject updates whose direction or signs stand out, against the public global model."""

from __future__ import annotations

import torch

from secure_fl.aggregation.openings import Opens
from secure_fl.aggregation.ops import SCORE_TOLERANCE, Ops, Secret
from secure_fl.aggregation.pipeline import Context, Stage, State, stage
from secure_fl.counts import share_count
from secure_fl.errors import InputError, require

MOST_DEVIATIONS = 2.0**8


@stage
def alignment_screen(
    fraction: float = 0.3, sign_deviations: float = 1.0, cosine_deviations: float = 1.0
) -> Stage:
    """Reject by two MZ-scores, of the cosine to the global model and of sign agreement: AlignIns.

    Xu, Zhang, Hu, Detecting backdoor attacks in federated learning via direction alignment
    inspection, CVPR 2025. For each hospital:
    1. cos(x_i, w), w the public global model of this round.
    2. The share of coordinates whose sign is the principal one, that of most updates.
    Keep i where both lie within so many standard deviations of their median.

    AlignIns takes the coordinates in which an update itself is largest; to select those under MPC
    would cost a median of d numbers a hospital. Here they are the `fraction` of all in which w is
    largest, public and the same for all. The sign of 0 is positive, of a tie too. Equal cosines
    are kept: up to 2^-14 from the limit they count as there (`SCORE_TOLERANCE`).

    Range: squared norms.  Reveals: accepted, one bit a hospital.  Cost: rows under a mask, m
    cosines with a public direction, bits of the chosen coordinates, medians of m numbers.
    """
    require(0 < fraction <= 1, "fraction", "in (0, 1]", fraction)
    for name, value in (
        ("sign_deviations", sign_deviations),
        ("cosine_deviations", cosine_deviations),
    ):
        require(0 < value <= MOST_DEVIATIONS, name, "in (0, 2^8]", value)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x, model = context.ops, context.x, context.surroundings.model
        if model is None:
            raise InputError("alignment_screen needs the global model (float (d,)); got None")
        chosen = _largest(model, fraction)
        below = ops.signs(ops.columns(x, chosen))  # (m, k)
        principal = ops.count_at_least(below, x.shape[0] // 2 + 1)  # (k,)
        apart = ops.sum(ops.differ(below, principal), 1)  # (m,)
        cosine = ops.cosine(x, model)  # (m,)
        pairs = [
            _squared_gap_and_limit(ops, apart, sign_deviations, 0.0),
            _squared_gap_and_limit(ops, cosine, cosine_deviations, SCORE_TOLERANCE),
        ]
        odd, away = ops.less_each(*((limit, gap) for gap, limit in pairs))
        return context.reject(ops.open("accepted", ~odd & ~away)), state

    return Stage(apply, opens=(Opens("accepted"),), uses_model=True)


def _largest(model: torch.Tensor, fraction: float) -> list[int]:
    """Where a public vector is largest in magnitude; of equal ones the first."""
    count = max(1, share_count(fraction, len(model)))
    order = torch.argsort(model.abs(), descending=True, stable=True)[:count]
    chosen: list[int] = order.sort().values.tolist()
    return chosen


def _squared_gap_and_limit(
    ops: Ops, score: Secret, deviations: float, tolerance: float
) -> tuple[Secret, Secret]:
    """m^2 (score - median)^2, (m,), and m^2 (deviations^2 variance + tolerance^2), (1,).

    The variance without a division, from the gaps c to the median: m sum(c^2) - sum(c)^2.
    """
    m = score.shape[0]
    gap = score - ops.median_of(score)
    squared, total = gap * gap, ops.sum(gap)
    variance = ops.sum(squared) * float(m) - total * total
    return squared * float(m * m), variance * deviations**2 + (m * tolerance) ** 2
