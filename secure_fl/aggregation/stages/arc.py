"""Clip the longest updates to the length of the next one."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction

from secure_fl.aggregation.malicious import borne
from secure_fl.aggregation.pipeline import Context, Stage, State, stage


@stage
def arc(num_malicious: int | None = None) -> Stage:
    """Clip the k = floor(2 f (m - f) / m) longest updates to the norm of the next longest.

    Adaptive robust clipping; Allouah, Guerraoui, Gupta, Jellouli, Rizk, Stephan, ICLR 2025. It
    goes before any rule and keeps that rule's promise. None stands for the largest f below m / 2.

    Range: squared norms.  Reveals: nothing.  Cost: n d squares, one order statistic of m numbers,
    2 m inverse roots, n d products.
    """
    bears = borne(num_malicious)

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops, m = context.ops, context.x.shape[0]
        f = bears.among(m)
        clipped = int(Fraction(2 * f * (m - f), m))
        if not clipped:
            return context, state
        (bound,) = ops.kth_values(ops.squared_norms(context.x), [m - clipped - 1])  # (1,)
        return replace(context, x=ops.clip(context.x, bound)), state

    return Stage(apply, needs=bears.needs)
