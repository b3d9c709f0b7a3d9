"""The accountant against closed forms of the composed Gaussian mechanism."""

import math

import numpy as np
import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from secure_fl.errors import InputError
from secure_fl.hospital.privacy import DELTA, ORDERS, epsilon, gaussian, round_rdp
from secure_fl.mpc.prg import Stream

CASES = [(1.0, 2.0, 1, 1e-5), (1.0, 20.0, 50, 1e-5), (0.5, 3.0, 10, 1e-3), (1.0, 100.0, 200, 1e-6)]


@pytest.mark.parametrize(("clip", "sigma", "rounds", "delta"), CASES)
def test_equals_the_optimum_over_all_orders(clip, sigma, rounds, delta):
    """With r = T (2C)^2 / (2 s^2), min over a of a r + L/(a-1) is r + 2 sqrt(r L)."""
    r = rounds * (2 * clip) ** 2 / (2 * sigma**2)
    want = r + 2 * math.sqrt(r * math.log(1 / delta))
    got = epsilon(clip, sigma, rounds, delta)
    assert want * (1 - 1e-9) <= got <= want * 1.01


@pytest.mark.parametrize(("clip", "sigma", "rounds", "delta"), CASES)
def test_is_an_upper_bound_on_the_exact_budget(clip, sigma, rounds, delta):
    """T Gaussian rounds are one of mu = 2C sqrt(T) / s. Ref: Balle and Wang, ICML 2018."""
    mu = 2 * clip * math.sqrt(rounds) / sigma

    def excess(eps: float) -> float:
        tail = math.exp(eps) * norm.cdf(-mu / 2 - eps / mu)
        return float(norm.cdf(mu / 2 - eps / mu) - tail - delta)

    exact = brentq(excess, 0.0, 200.0)
    assert exact <= epsilon(clip, sigma, rounds, delta) <= 1.6 * exact + 0.1


def test_rounds_add_and_edges():
    one = round_rdp(1.0, 2.0, ORDERS)
    assert one[0] == pytest.approx(ORDERS[0] * 4 / 8)
    assert epsilon(1.0, 2.0, 0, 1e-5) == 0
    assert epsilon(1.0, 0.0, 1, 1e-5) == math.inf
    assert epsilon(1.0, 1e-200, 1, 1e-5) == math.inf  # its square is no number
    assert epsilon(1.0, 2.0, 2, 1e-5) > epsilon(1.0, 2.0, 1, 1e-5)


def test_refusals():
    with pytest.raises(InputError, match="delta must be in"):
        epsilon(1.0, 1.0, 1, 0.0)
    with pytest.raises(InputError, match="delta must be in"):
        epsilon(1.0, 1.0, 1, 1.0)
    with pytest.raises(InputError, match="noise_sigma must be > 0"):
        round_rdp(1.0, 0.0, [2.0])
    with pytest.raises(InputError, match="rounds must be >= 0"):
        epsilon(1.0, 1.0, -1, 0.1)
    with pytest.raises(InputError, match="clip_norm must be > 0"):
        epsilon(0.0, 1.0, 1, 0.1)
    with pytest.raises(InputError, match="orders must be > 1"):
        round_rdp(1.0, 1.0, [1.0])


def test_orders_and_delta_are_those_of_the_docs():
    assert DELTA == 1e-5
    assert len(ORDERS) == 99 + 502
    assert ORDERS[:3] == (1.1, 1.2, 1.3)
    assert ORDERS[98:101] == (10.9, 11.0, 12.0)
    assert ORDERS[-1] == 512.0


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
