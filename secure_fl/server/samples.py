"""How many rows a hospital counts for: its own claim, held to a share of the total.

FedAvg weighs updates by the hospitals' numbers of rows, which nobody else can see. So a claim is
believed up to a bound that holds whatever the others claim: no hospital gets more than `cap` times
the weight that an equal share would give it.
"""

from __future__ import annotations

from collections.abc import Sequence

from secure_fl.errors import require

# What a hospital that lies about its rows says: more than any bound believes.
LARGEST_CLAIM = 2**31


def bounded(claims: Sequence[int], cap: float) -> list[float]:
    """Hold claims to the largest t with t <= cap * mean_i min(claim_i, t).

    So no share min(claim_i, t) / sum_j min(claim_j, t) exceeds cap / n, and claims are cut no more
    than that takes. f hospitals together have at most f cap / n of the weight.

    Args:
        claims: rows that each of n hospitals says it has, >= 0.
        cap: largest weight in equal shares, >= 1; 1 makes all weights equal.

    Returns:
        The rows that each counts for.

    Raises:
        InputError: a negative claim, or a cap below 1.

    Example:
        >>> bounded([100, 100, 100, 900], cap=2)
        [100.0, 100.0, 100.0, 300.0]
    """
    require(cap >= 1, "cap", ">= 1", cap)
    require(all(claim >= 0 for claim in claims), "claims", ">= 0", list(claims))
    falling = sorted(claims, reverse=True)
    count, rest = len(falling), float(sum(falling))
    for cut, largest in enumerate(falling):
        # With the `cut` largest at t, t = cap (cut t + rest) / n. Above n / cap there is no room
        # for another, but then `rest` gave t at least the next claim already.
        limit = cap * rest / (count - cap * cut)
        if largest <= limit:
            return [min(float(claim), limit) for claim in claims]
        rest -= largest
    return []  # of nobody
