"""The privacy budget of the Gaussian noise that hospitals add to their clipped updates.

What is accounted: one hospital, its whole data set being the secret, against whoever sees

- its noisy updates: in each round a Gaussian mechanism. Two data sets of the hospital give clipped
  updates at most 2C apart, so its sensitivity is 2C, with standard deviation sigma;
- only means of many noisy updates: the same with the noises of k hospitals on its sensitivity, of
  standard deviation sigma sqrt(k). Who does not add noise, or tells it, must not be counted in k.

Rounds compose exactly: Gaussian mechanisms of means mu_t are together one of sqrt(sum of mu_t^2)
(Dong, Roth, Su, JRSS B 2022, corollary 3.3). The epsilon of that one is exact too (Balle and Wang,
ICML 2018), computed by Google's dp-accounting. There is no amplification by sampling: who takes
part in a round is public. Noise is taken for continuous; that updates are rounded to steps of 2^-16
changes nothing for a hospital's own, which it rounds itself, and is neglected in sums of many.

The noise itself is drawn from AES-128 in counter mode under a key of the hospital's own: whoever
could repeat it could take it off.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from secure_fl.errors import require
from secure_fl.mpc.prg import Stream

# Chance that the guarantee fails which a run's epsilon is stated for.
DELTA = 1e-5
# Ratio of noise to sensitivity below which epsilon, 5e23 there, says no more than infinity.
_LEAST = 1e-12


def epsilon(clip_norm: float, noise_sigma: float, noises: Sequence[float], delta: float) -> float:
    """Budget spent over some rounds, exact for Gaussian noise.

    Args:
        clip_norm: C > 0.
        noise_sigma: standard deviation on each coordinate, >= 0; 0 gives infinity (no privacy).
        noises: one entry a round in which something of the hospital's was seen, > 0: how many
            noises of its own size lay on its update there. 1: it was seen by itself.
        delta: in (0, 1).

    Returns:
        epsilon >= 0 of an (epsilon, delta) guarantee for the hospital's whole data set.
    """
    require(0 < delta < 1, "delta", "in (0, 1)", delta)
    require(clip_norm > 0, "clip_norm", "> 0", clip_norm)
    require(noise_sigma >= 0, "noise_sigma", ">= 0", noise_sigma)
    require(all(each > 0 for each in noises), "noises", "> 0", list(noises)[:8])
    if not noises:
        return 0.0
    exposure = math.sqrt(math.fsum(1 / each for each in noises))
    ratio = noise_sigma / (2 * clip_norm * exposure)
    return math.inf if ratio < _LEAST else _exact(ratio, delta)


@lru_cache(maxsize=1024)
def _exact(ratio: float, delta: float) -> float:
    """Epsilon of one Gaussian mechanism whose noise is `ratio` times its sensitivity."""
    from dp_accounting import get_epsilon_gaussian  # a second and a half, for runs with noise alone

    with np.errstate(divide="ignore", invalid="ignore"):  # on its way to an exact answer
        return float(get_epsilon_gaussian(ratio, delta))


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
