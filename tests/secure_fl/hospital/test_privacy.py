"""The accountant against closed forms of the composed Gaussian mechanism."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from secure_fl.errors import InputError
from secure_fl.hospital.privacy import DELTA, epsilon, gaussian
from secure_fl.mpc.prg import Stream

CASES = [(1.0, 2.0, 1, 1e-5), (1.0, 20.0, 50, 1e-5), (0.5, 3.0, 10, 1e-3), (1.0, 100.0, 200, 1e-6)]


def exact(mu: float, delta: float) -> float:
    """Budget of one Gaussian mechanism of mean mu. Ref: Balle and Wang, ICML 2018, theorem 8."""

    def excess(eps: float) -> float:
        tail = math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)
        return float(norm.cdf(mu / 2 - eps / mu) - tail - delta)

    return brentq(excess, 0.0, 200.0, xtol=1e-12)


@pytest.mark.parametrize(("clip", "sigma", "rounds", "delta"), CASES)
def test_is_the_exact_budget_below_every_bound(clip, sigma, rounds, delta):
    """T rounds are one of mu = 2C sqrt(T) / sigma; Renyi orders and Dwork and Roth bound it."""
    mu = 2 * clip * math.sqrt(rounds) / sigma
    got = epsilon(clip, sigma, [1] * rounds, delta)
    assert got == pytest.approx(exact(mu, delta), rel=1e-6)
    # Mironov, CSF 2017, propositions 3 and 7, at the best of all orders.
    r = mu**2 / 2
    assert got < r + 2 * math.sqrt(r * math.log(1 / delta))
    classical = mu * math.sqrt(2 * math.log(1.25 / delta))  # Dwork and Roth 2014, theorem A.1
    assert got < classical or classical > 1  # which holds for epsilon below 1 alone


@pytest.mark.parametrize(
    ("sensitivity", "want", "delta"),
    [(1.0, 1.0, 0.12693674), (3.0, 1.0, 0.78760074), (1.0, 2.0, 0.02092364)],
)
def test_published_values(sensitivity, want, delta):
    """Of noise of size 1, as in the tests of Google's privacy loss distributions."""
    assert epsilon(sensitivity / 2, 1.0, [1], delta) == pytest.approx(want, abs=1e-6)


def test_noises_of_others_count_and_rounds_add():
    """k noises in a round are one of sqrt(k) times the size; unlike rounds add their squares."""
    assert epsilon(1.0, 2.0, [9], 1e-5) == pytest.approx(epsilon(1.0, 6.0, [1], 1e-5))
    mu = math.sqrt(1 / 9 + 1 / 4 + 1)
    assert epsilon(1.0, 2.0, [9, 4, 1], 1e-5) == pytest.approx(exact(mu, 1e-5), rel=1e-6)
    assert epsilon(1.0, 2.0, [], 1e-5) == 0
    assert epsilon(1.0, 0.0, [1], 1e-5) == math.inf
    assert epsilon(1.0, 1e-200, [1], 1e-5) == math.inf  # its square is no number
    assert 1e22 < epsilon(1.0, 1e-11, [1], 1e-5) < math.inf


def test_refusals():
    with pytest.raises(InputError, match="delta must be in"):
        epsilon(1.0, 1.0, [1], 0.0)
    with pytest.raises(InputError, match="delta must be in"):
        epsilon(1.0, 1.0, [1], 1.0)
    with pytest.raises(InputError, match="noise_sigma must be >= 0"):
        epsilon(1.0, -1.0, [1], 0.1)
    with pytest.raises(InputError, match="noises must be > 0"):
        epsilon(1.0, 1.0, [1, 0], 0.1)
    with pytest.raises(InputError, match="clip_norm must be > 0"):
        epsilon(0.0, 1.0, [1], 0.1)


def test_delta_is_that_of_the_docs():
    assert DELTA == 1e-5


@pytest.mark.parametrize("size", [0, 1, 2, 7])
def test_noise_is_box_and_mullers_of_the_keys_words(size):
    """u, v uniform: sqrt(-2 ln u) cos(2 pi v) first, then the same with the sine."""
    key, pairs = b"0123456789abcdef", (size + 1) // 2
    high = [[int(word) >> 11 for word in row] for row in Stream(key).words((2, pairs))]
    radius = [math.sqrt(-2 * math.log((word + 1) / 2**53)) for word in high[0]]
    turns = [2 * math.pi * word / 2**53 for word in high[1]]
    want = [r * math.cos(t) for r, t in zip(radius, turns, strict=True)]
    want += [r * math.sin(t) for r, t in zip(radius, turns, strict=True)]
    np.testing.assert_allclose(gaussian(key, size), want[:size], rtol=1e-12, atol=1e-12)
