"""Rules that remember: what they make of several rounds, against loops, in plain and fixed."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule, rule_names
from secure_fl.aggregation.rules.registry import LEFT_OUT
from secure_fl.errors import ConfigError, InputError
from tests.support.literal_rules import clipping, coordinatewise, groups
from tests.support.literal_rules.history import _Detector
from tests.support.oracles import case

STEP = 2.0**-16


def sessions(rule: Any, n: int, d: int) -> list[Any]:
    return [secure_fl.open_backend(name).session(rule, n, d) for name in ("plain", "fixed")]


def test_fldetector_remembers_whom_it_saw() -> None:
    """Hospitals stay away and come late; one sends noise, and is told by its leaps."""
    n, d = 9, 12
    rng = np.random.default_rng(2)
    oracle, both, rejected = _Detector(n), sessions("fldetector", n, d), 0
    own = 0.1 * rng.standard_normal((n, d))
    for number, flags in enumerate(("111111110", "111111111", "111011111", "111111111", "1" * 9)):
        x = own * 0.9**number + 0.01 * rng.standard_normal((n, d))
        x[2] = 0.5 * rng.standard_normal(d)
        x = np.round(x / STEP) * STEP
        present = [flag == "1" for flag in flags]
        expected = oracle.round({h: x[h] for h in range(n) if present[h]})
        assert expected.margin > 2.0**-14
        for session, error in zip(both, (1e-9, 2 * STEP), strict=True):
            result = session.aggregate(session.submit(x, present))
            np.testing.assert_array_equal(result.accepted.numpy(), expected.accepted)
            np.testing.assert_allclose(result.update.numpy(), expected.update, rtol=0, atol=error)
        rejected += not expected.accepted[2]
    assert rejected == 4  # in round 1 there is nothing to compare with


@pytest.mark.parametrize("iterations", [1, 3])
def test_centered_clipping_starts_from_the_last_aggregate(iterations: int) -> None:
    n, d = 7, 5
    rule = build_rule("centered_clipping", tau=0.3, iterations=iterations)
    both, last = sessions(rule, n, d), None
    for number in range(3):
        x, _, _ = case("extreme", n, d, seed=number)
        present = [i != number for i in range(n)]
        wanted = clipping.centered_clipping(
            x[present], None, None, tau=0.3, iterations=iterations, last=last
        ).update
        for session, error in zip(both, (1e-12, 4 * STEP), strict=True):
            result = session.aggregate(session.submit(x, present))
            np.testing.assert_allclose(result.update.numpy(), wanted, rtol=0, atol=error)
            if error > STEP:
                last = result.update.numpy()
        # Both go on from one vector, as near as the integers are.
        both[0]._last = torch.from_numpy(last.copy())


@pytest.mark.parametrize("name", sorted(LEFT_OUT))
def test_rules_that_cannot_be_here_say_why(name: str) -> None:
    assert name not in rule_names()
    with pytest.raises(ConfigError, match=f"rule {name} is not among those that ship: it .*which"):
        build_rule(name)


@pytest.mark.parametrize("backend", ["plain", "fixed"])
@pytest.mark.parametrize(
    ("rule", "params", "literal"),
    [
        ("phocas", {"num_malicious": 2}, lambda x: coordinatewise.phocas(x, None, None, f=2)),
        ("arc", {"num_malicious": 3}, lambda x: clipping.arc(x, None, None, f=3)),
        ("bucketing", {"size": 3}, lambda x: groups.bucketing(x, None, None, size=3)),
        ("flcert", {"count": 4}, lambda x: groups.flcert(x, None, None, count=4)),
    ],
)
def test_other_parameters(backend: str, rule: str, params: dict[str, Any], literal: Any) -> None:
    for n, kind in ((7, "plain"), (11, "ties"), (12, "extreme")):
        x, _, _ = case(kind, n, 6, seed=n)
        made = build_rule(rule, **params)
        result = secure_fl.aggregate(x, made, backend, seed=bytes(32))
        np.testing.assert_allclose(result.update, literal(x).update, rtol=0, atol=4 * STEP)


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_what_too_few_have_weight_in_is_not_opened(backend: str) -> None:
    """One update along the root among seven, five wanted: its weight is nobody's business."""
    x = np.full((7, 4), -0.25)
    x[3] = 0.5
    root = np.ones(4)
    alone = secure_fl.aggregate(x, "fltrust", backend, reference=root)
    np.testing.assert_allclose(alone.update, root, atol=2.0**-10)
    with secure_fl.open_backend(backend, minimum_hospitals=5) as several:
        kept = secure_fl.aggregate(x, "fltrust", several, reference=root)
        assert kept.update.tolist() == [0.0] * 4
        assert kept.accepted.all()
        crowd = secure_fl.aggregate(-x, "fltrust", several, reference=root)
        assert float(crowd.update.min()) > 0.5


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_groups_count_as_many_hospitals_and_reject_together(backend: str) -> None:
    x = np.full((8, 3), 0.25)
    x[5] = 1.9
    stages = [{"grouping": {"count": 4}}, {"norm_screen": {"max_norm": 0.6}}, "coordinate_median"]
    with secure_fl.open_backend(backend, minimum_hospitals=6) as several:
        found = secure_fl.aggregate(x, {"max_abs": 2.0, "stages": stages}, several)
        assert found.accepted.tolist() == [True, False, True, True] * 2
        assert found.update.tolist() == [0.25] * 3
        assert found.opened[0].shape == (4,)
        remembering = {"max_abs": 2.0, "stages": [stages[0], "consistency_screen"]}
        with pytest.raises(InputError, match="rows must be one hospital's each for consistency"):
            secure_fl.aggregate(x, remembering, several)
        few = secure_fl.aggregate(x[:7], {"max_abs": 2.0, "stages": stages}, several)
        assert few.update.tolist() == [0.0] * 3  # five are left
