"""ByzFL 0.0.11's attacks and these: equal where conventions are, and pinned where they are not."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import ModuleType
from typing import Any

import numpy as np
import pytest
import torch

import attacks
import secure_fl
from attacks.samples import awake, rows_of, sample_view
from attacks.view import Outcome
from eval.bench.rule_peers import byzfl
from secure_fl.aggregation import build_rule

D = 6


@pytest.fixture(scope="module")
def theirs() -> ModuleType:
    found = byzfl("attacks.attacks")
    if found is None:
        pytest.skip("byzfl is not installed: `make setup` does it")
    return found


def sizes() -> Iterator[tuple[np.ndarray, int]]:
    """Honest updates of 2 to 40 hospitals, at least two of them honest, and malicious ones."""
    rng = np.random.default_rng(0)
    for n in range(3, 41, 4):
        for f in {1, (n - 1) // 2}:
            yield rng.normal(size=(max(n - f, 2), D)) + 0.5, f


def ours(
    name: str,
    honest: np.ndarray,
    f: int,
    rule: Callable[[torch.Tensor], torch.Tensor] | None = None,
    **params: Any,
) -> np.ndarray:
    """The row that all malicious hospitals send; their own updates are zeros."""
    attack = attacks.load(name, params)

    def simulate(updates: torch.Tensor) -> Outcome:
        assert rule is not None
        return Outcome(rule(updates), torch.ones(len(updates), dtype=torch.bool))

    view = sample_view(len(honest) + f, f, 30, attack=attack, simulate=simulate if rule else None)
    own = torch.zeros(f, D, dtype=torch.float64)
    sent = rows_of(attack.craft(torch.from_numpy(honest), own, awake(attack, view)))
    assert torch.equal(sent, sent[:1].expand(f, -1))
    return sent[0].numpy()


def same(one: Any, other: Any) -> None:
    np.testing.assert_allclose(one, other, rtol=0, atol=1e-6)


def test_equal_where_conventions_are(theirs: ModuleType) -> None:
    for x, f in sizes():
        same(ours("ipm", x, f), theirs.InnerProductManipulation()(x))
        same(ours("ipm", x, f, epsilon=0.5), theirs.InnerProductManipulation(0.5)(x))
        same(ours("mimic", x, f, victim=1), theirs.Mimic(1)(x))
        np.testing.assert_array_equal(ours("inf_nan", x, f), theirs.Inf()(x))


def test_its_sign_flip_is_our_inner_product_manipulation_of_strength_1(theirs: ModuleType) -> None:
    """Ours flips each one's own update, as the paper: here zeros."""
    for x, f in sizes():
        same(ours("ipm", x, f, epsilon=1.0), theirs.SignFlipping()(x))
        assert not ours("sign_flip", x, f).any()


def test_its_little_goes_the_other_way_by_the_sample_deviation(theirs: ModuleType) -> None:
    """Ours: m - z s, s with n; its: m + tau s, s with n - 1. So turn the world round."""
    for x, f in sizes():
        z = 1.5 * (len(x) / (len(x) - 1)) ** 0.5
        same(ours("alie", x, f, z=z), -theirs.ALittleIsEnough(1.5)(-x))


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
def test_its_line_searches_end_where_ours_do(theirs: ModuleType, name: str) -> None:
    rules = byzfl("aggregators")
    assert rules is not None
    for x, f in list(sizes())[::3]:
        if name == "trimmed_mean" and 2 * f >= len(x) + f:
            continue
        peer = rules.Median() if name == "median" else rules.TrMean(f)
        params = {} if name == "median" else {"beta": f / (len(x) + f)}
        built = build_rule(name, **params)

        def rule(updates: torch.Tensor, built: Any = built) -> torch.Tensor:
            return torch.as_tensor(secure_fl.aggregate(updates, built).update)

        options = {"agg": peer, "pre_agg_list": [], "f": f, "evals": 12, "delta": 3.0}
        found = ours("optimal_ipm", x, f, rule, evaluations=12, delta=3.0)
        same(found, theirs.Optimal_InnerProductManipulation(**options)(x))
        found = ours("optimal_alie", x, f, rule, evaluations=12, delta=3.0)
        same(found, -theirs.Optimal_ALittleIsEnough(**options)(-x))
