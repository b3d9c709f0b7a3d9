"""Combine updates by the mean of the values nearest to every coordinate's trimmed mean."""

from __future__ import annotations

from dataclasses import replace

import torch

from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def phocas(num_malicious: int | None = None) -> Stage:
    """Average the m - f values nearest to the mean without the f largest and f smallest.

    Xie, Koyejo, Gupta, Phocas: dimensional Byzantine-resilient stochastic gradient descent, 2018.
    Ties are broken as in `mean_around_median`: values below the trimmed mean stay first, then those
    of lower hospital number. None stands for the largest f below m / 2.

    Range: that of x, times m.  Reveals: nothing.  Cost: a selection of two order statistics, bits
    of m d differences, a selection of one, 2 m d products of a bit.
    """
    bears = borne(num_malicious)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, x = context.ops, context.x
        m = x.shape[0]
        f = bears.among(m)
        ones = torch.ones(m, dtype=torch.float64)
        if f:
            inner = ops.where(ops.trimmed_mask(x, f), x, None)  # (m, d)
            center = ops.weighted_mean(inner, ones, divisor=m - 2 * f)
            x = ops.where(ops.nearest(x, m - f, center), x, None)
        return replace(context, update=ops.weighted_mean(x, ones, divisor=m - f)), state

    return Stage(apply, needs=bears.needs)
