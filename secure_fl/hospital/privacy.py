"""The privacy budget of the Gaussian noise that hospitals add to their clipped updates.

What is accounted: one hospital against whoever sees its noisy updates, its whole data set being
the secret. Two data sets of the hospital give clipped updates at most 2C apart, so each round is
a Gaussian mechanism of sensitivity 2C and standard deviation sigma. Rounds compose by adding their
Renyi divergences; there is no amplification by sampling, since every hospital takes part in every
round. Noise of other hospitals in the sum, which would make the budget smaller, is not counted,
because malicious hospitals need not add any.

The noise itself is drawn from AES-128 in counter mode under a key of the hospital's own: whoever
could repeat it could take it off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from secure_fl.errors import require
from secure_fl.mpc.prg import Stream

# Chance that the guarantee fails which a run's epsilon is stated for.
DELTA = 1e-5
ORDERS = tuple(1 + x / 10 for x in range(1, 100)) + tuple(float(x) for x in range(11, 513))


def round_rdp(clip_norm: float, noise_sigma: float, orders: Sequence[float]) -> list[float]:
    """Renyi divergence of one round at each order a: a (2C)^2 / (2 sigma^2).

    Ref: Mironov, CSF 2017, proposition 7.

    Args:
        clip_norm: C > 0.
        noise_sigma: standard deviation on each coordinate, > 0.
        orders: a > 1.
    """
    require(clip_norm > 0, "clip_norm", "> 0", clip_norm)
    require(noise_sigma > 0, "noise_sigma", "> 0", noise_sigma)
    require(all(a > 1 for a in orders), "orders", "> 1", orders)
    ratio = 2 * clip_norm / noise_sigma
    return [a * ratio * ratio / 2 for a in orders]


def epsilon(
    clip_norm: float,
    noise_sigma: float,
    rounds: int,
    delta: float,
    orders: Sequence[float] = ORDERS,
) -> float:
    """Budget spent after some rounds: the smallest epsilon that the orders give at this delta.

    Each order a gives rounds * rdp(a) + log(1/delta) / (a - 1). Ref: Mironov, CSF 2017,
    proposition 3.

    Args:
        clip_norm: C > 0.
        noise_sigma: standard deviation on each coordinate; 0 gives infinity (no privacy).
        rounds: number of noisy updates that the hospital has sent, >= 0.
        delta: in (0, 1).
        orders: candidates a > 1.

    Returns:
        epsilon >= 0 of an (epsilon, delta) guarantee for the hospital's whole data set.
    """
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    require(rounds >= 0, "rounds", ">= 0", rounds)
    if rounds == 0:
        return 0.0
    if noise_sigma == 0:
        return math.inf
    rdp = round_rdp(clip_norm, noise_sigma, orders)
    return min(rounds * r + math.log(1 / delta) / (a - 1) for r, a in zip(rdp, orders, strict=True))


def gaussian(key: bytes, size: int) -> np.ndarray:
    """Standard normal numbers, float64 (size,), determined by a 16-byte key used for nothing else.

    Box and Muller's transform of pairs of uniform 53-bit numbers; none is beyond 8.6, which a
    normal number is once in 10**17.

    Args:
        key: 16 bytes, secret.
        size: >= 0.
    """
    words = Stream(key).words((2, (size + 1) // 2)) >> np.uint64(11)
    radius = np.sqrt(-2 * np.log((words[0].astype(np.float64) + 1) * 2.0**-53))
    angle = 2 * np.pi * words[1].astype(np.float64) * 2.0**-53
    return np.concatenate([radius * np.cos(angle), radius * np.sin(angle)])[:size]
