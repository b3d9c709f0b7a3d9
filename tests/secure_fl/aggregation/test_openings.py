"""An opening carries what it says, and nothing is opened that was not declared."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import secure_fl
from secure_fl.aggregation import Pipeline, build_rule
from secure_fl.aggregation.openings import Opens, Permit, digest
from secure_fl.aggregation.ops import Secret
from secure_fl.aggregation.running import run
from secure_fl.aggregation.secret import middle_ranks
from secure_fl.aggregation.surroundings import Surroundings
from secure_fl.aggregation.weights import WEIGHT_BITS, apportion, median_rows, real_rows
from secure_fl.aggregation.worlds import fixed
from secure_fl.errors import InputError
from tests.secure_fl.aggregation.test_rules_common import UNITS
from tests.support.oracles import KINDS, case
from tests.support.unruly import AT_THE_RING, WAYS, unruly

STEP = Fraction(1, 2**16)

# --- no value leaves with low bits below its declared unit ------------------------------------


class Watched(fixed.ClearOps):
    """Keeps the integers that nodes would send each other's shares of, in units of their step."""

    def __init__(self) -> None:
        super().__init__()
        self.left: dict[str, list[Fraction]] = {}
        self._step, numbers = 0.0, self.ring.open_numbers

        def watching(a: torch.Tensor, permit: Permit) -> torch.Tensor:
            self.left[permit.opening.name] = [v * Fraction(self._step) for v in a.tolist()]
            return numbers(a, permit)

        self.ring.open_numbers = watching  # type: ignore[method-assign]

    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        self._step = secret.step or secret.unit
        return super()._reveal(secret, permit)


def watched(rule: Pipeline, x: np.ndarray, reputation: np.ndarray, root: np.ndarray) -> Watched:
    ops = Watched()
    run(
        rule,
        rule.init(),
        ops,
        fixed.wrap(torch.as_tensor(x), rule.bits),
        range(len(x)),
        torch.as_tensor(reputation, dtype=torch.float64),
        torch.as_tensor(reputation, dtype=torch.float64) * 100,
        x.shape[1],
        torch.as_tensor(root),
        surroundings=Surroundings(model=torch.as_tensor(root)),
    )
    return ops


@pytest.mark.parametrize("unit", sorted(UNITS))
def test_numbers_leave_in_whole_steps(unit: str) -> None:
    """Before any division in public: an update's integers are multiples of 2^-16, always."""
    rule, seen = UNITS[unit], 0
    for n in range(1, 13):
        x, reputation, root = case(KINDS[n % 3], n, 7, seed=n)
        for weights in (reputation, np.ones(n)):
            ops = watched(rule, x, weights, root)
            assert set(ops.left) <= {"update"}
            for value in ops.left.get("update", []):
                assert (value / STEP).denominator == 1
                seen += 1
    assert seen > 100


def recovered(update: Sequence[float | Fraction], whole: list[int], odd: int) -> np.ndarray:
    """Read the row of the odd weight out of a weighted mean, if that is the exact quotient.

    S = W_a A + W_b x_b, so that x_b = S W_b^-1 modulo W_a. Returns integers (d,).
    """
    common = whole[0 if odd else 1]
    inverse, half = pow(whole[odd], -1, common), common // 2
    sums = [round(Fraction(value) * 2**16 * sum(whole)) for value in update]
    return np.array([(s * inverse + half) % common - half for s in sums])


@pytest.mark.parametrize("name", ["weighted_mean", "guarded"])
def test_the_row_of_one_other_weight_does_not_come_out(name: str) -> None:
    n, d, odd = 6, 400, 4
    rng = np.random.default_rng(0)
    x = np.round((0.02 + 0.02 * rng.standard_normal((n, d))) * 2**16) / 2**16
    x[odd] = np.round(x[odd] / 2 * 2**16) / 2**16  # short, so that `guarded` does not clip it
    reputation = np.full(n, 58983 / 65536)  # 0.9, and 0.45 after one rejection
    reputation[odd] = 29491 / 65536
    secret = np.rint(x[odd] * 2**16).astype(int)
    result = secure_fl.aggregate(
        x, build_rule(name), "fixed", reputation=reputation, reference=x[odd]
    )
    rows = np.flatnonzero(result.values["used"].numpy()) if name == "guarded" else np.arange(n)
    assert odd in rows
    assert len(rows) >= 3
    whole = np.rint(reputation[rows] * 2**16).astype(int).tolist()
    place = int(np.flatnonzero(rows == odd)[0])
    guesses = recovered(result.update.tolist(), whole, place)
    assert (guesses == secret).mean() < 0.01  # chance: one in W_a


def test_the_attack_is_right() -> None:
    """The exact quotient, which once left, gives the row away."""
    rng = np.random.default_rng(1)
    x = rng.integers(-3000, 3000, (5, 50))
    whole = [58983, 58983, 58983, 29491, 58983]
    exact = [Fraction(int(s), 2**16 * sum(whole)) for s in np.array(whole) @ x]
    assert (recovered(exact, whole, 3) == x[3]).all()


def test_a_mean_of_other_weights_is_as_close_as_its_step() -> None:
    x, reputation, _ = case("plain", 20, 50, seed=5)
    plain, rounded = (
        secure_fl.aggregate(x, "weighted_mean", backend, reputation=reputation).update
        for backend in ("plain", "fixed")
    )
    error = rounded - plain
    assert float(error.max()) <= 20 * 2.0**-24
    assert float(error.min()) >= -(2.0**-16) * 1.01


def test_a_finer_opening_is_rounded_down_to_what_is_declared() -> None:
    ops = fixed.ClearOps()
    x = torch.tensor([[1.5 * 2**-16, 0.0], [-(2**-16), 2**-16]], dtype=torch.float64)
    squares = ops.squared_norms(fixed.wrap(x, 18))  # steps of 2^-32
    for unit in (2.0**-32, 2.0**-31):
        ops.exits.values.clear()
        ops.exits.allow((Opens("squares", unit=unit),), rows=2, dim=2)
        got = ops.open("squares", squares) / unit
        assert got.tolist() == [np.floor(v * 2.0**-32 / unit) for v in (4, 2)]
    assert ops.opened == [("squares", (2,), 2.0**-32), ("squares", (2,), 2.0**-31)]


# --- weights -----------------------------------------------------------------------------------

shares = st.lists(st.integers(0, 2**20), min_size=1, max_size=40).filter(any)


@settings(max_examples=200, deadline=None)
@given(counts=shares)
def test_weights_add_up_and_are_the_nearest(counts: list[int]) -> None:
    weights = torch.tensor(counts, dtype=torch.float64) / 2**20
    integers, shift = apportion(weights)
    total, some = sum(counts), {c for c in counts if c}
    if len(some) == 1:
        assert (list(integers), shift) == ([int(c > 0) for c in counts], 0)
        return
    assert (sum(integers), shift) == (2**WEIGHT_BITS, WEIGHT_BITS)
    quotas = [Fraction(c * 2**WEIGHT_BITS, total) for c in counts]
    assert all(w - (q - 1) >= 0 and w < q + 1 for w, q in zip(integers, quotas, strict=True))
    rounded_up = [q % 1 for w, q in zip(integers, quotas, strict=True) if w > q]
    left_down = [q % 1 for w, q in zip(integers, quotas, strict=True) if w < q]
    assert not rounded_up or not left_down or min(rounded_up) >= max(left_down)


def test_equal_remainders_go_to_the_lower_row() -> None:
    assert apportion(torch.tensor([1.0, 1.0, 2.0])).integers == (2**22, 2**22, 2**23)
    assert apportion(torch.tensor([2.0, 2.0, 2.0, 1.0])).integers == (
        4793491,
        4793490,
        4793490,
        2396745,
    )


@pytest.mark.parametrize("weights", [[0.0, 0.0], [-0.1, 1.0], [float("nan"), 1.0], [2.0**20]])
def test_weights_that_mean_nothing_are_refused(weights: list[float]) -> None:
    with pytest.raises(InputError, match="weights must be"):
        apportion(torch.tensor(weights))


def test_rows_of_hardly_any_weight_do_not_count() -> None:
    assert real_rows(torch.tensor([1.0, 0.125, 0.124, 0.0])) == 2
    assert real_rows(torch.tensor([0.0, 0.0])) == 0


@pytest.mark.parametrize(
    "copies", [[1], [3, 1, 1], [2, 1, 1], [4, 2, 2, 1], [5, 4, 1], [1, 1, 1, 1]]
)
def test_a_median_is_of_one_row_where_one_decides_every_coordinate(copies: list[int]) -> None:
    """In every order of the rows, so whatever their values are."""
    deciding = [
        all(
            row in {ranked[place] for place in middle_ranks(len(ranked))}
            for order in itertools.permutations(range(len(copies)))
            for ranked in [[each for each in order for _ in range(copies[each])]]
        )
        for row in range(len(copies))
    ]
    assert (median_rows(copies) == 1) == any(deciding)
    assert median_rows([0, *copies]) == median_rows(copies)


@given(st.lists(st.integers(0, 9), min_size=1, max_size=9).filter(any))
def test_rows_of_a_median_are_counted_from_the_heavy_ones(copies: list[int]) -> None:
    found, held = median_rows(copies), sorted(filter(None, copies))
    if len(set(held)) == 1:
        assert found == len(held)
        return
    fewest = min(
        size
        for size in range(1, len(held) + 1)
        for chosen in itertools.combinations(held, size)
        if 2 * sum(chosen) >= sum(held)
    )
    assert found == min(2 * fewest - 1, len(held))


# --- declarations ------------------------------------------------------------------------------


@pytest.mark.parametrize("backend", ["plain", "fixed"])
@pytest.mark.parametrize("way", sorted(WAYS.keys() - AT_THE_RING))
def test_a_stage_is_held_to_its_word(way: str, backend: str) -> None:
    x = 0.1 * torch.ones(5, 3)
    with pytest.raises(InputError, match=WAYS[way][2]):
        secure_fl.aggregate(x, Pipeline((unruly(way),), 2.0), backend)


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"name": ""}, "name of an opening must be given"),
        ({"name": "a", "axes": ("hospital",)}, "axes must be of"),
        ({"name": "a", "unit": 0.0}, "unit must be None or positive"),
    ],
)
def test_impossible_declarations_are_refused(arguments: dict[str, Any], match: str) -> None:
    with pytest.raises(InputError, match=match):
        Opens(**arguments)


def test_what_was_opened_cannot_be_changed_afterwards() -> None:
    """Each value is copied and hashed when it is opened."""
    ops = fixed.ClearOps()
    secret = ops.squared_norms(fixed.wrap(torch.ones(2, 1, dtype=torch.float64), 18)) < 2.0
    ops.exits.allow((Opens("accepted"),), rows=2, dim=1)
    value = ops.open("accepted", secret)
    value.zero_()
    assert ops.values["accepted"].tolist() == [True, True]
    assert ops.exits.digests["accepted"] == digest(torch.ones(2))
