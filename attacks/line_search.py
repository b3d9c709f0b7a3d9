"""The search for an attack's strength against a rule that it can simulate."""

from __future__ import annotations

from collections.abc import Callable


def maximise(
    score: Callable[[float], float], evaluations: int, delta: float, ratio: float
) -> float:
    """The best x >= 0 found: steps that double while they help, then steps that shrink.

    The first step past the maximum ends the doubling. As in ByzFL's `Optimal_ALittleIsEnough`.

    Args:
        score: to be maximised.
        evaluations: of it at most, >= 1; one of them at 0.
        delta: first step, > 0.
        ratio: by which steps shrink, in (0.5, 1).

    Example:
        >>> round(maximise(lambda x: -((x - 3) ** 2), 30, 1.0, 0.8), 2)
        3.0
    """
    best, reached = 0.0, score(0.0)
    doubling = True
    for _ in range(evaluations - 1):
        tried = best + delta
        value = score(tried)
        if value > reached:
            best, reached = tried, value
            delta *= 2 if doubling else ratio
        else:
            doubling = False
            delta *= ratio
    return best
