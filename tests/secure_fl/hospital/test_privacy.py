"""The accountant against closed forms of the composed Gaussian mechanism."""

import math

import pytest
from scipy.optimize import brentq
from scipy.stats import norm

from secure_fl.errors import InputError
from secure_fl.hospital.privacy import ORDERS, epsilon, round_rdp

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
    with pytest.raises(InputError, match="rounds must be >= 0"):
        epsilon(1.0, 1.0, -1, 0.1)
    with pytest.raises(InputError, match="clip_norm must be > 0"):
        epsilon(0.0, 1.0, 1, 0.1)
    with pytest.raises(InputError, match="orders must be > 1"):
        round_rdp(1.0, 1.0, [1.0])
