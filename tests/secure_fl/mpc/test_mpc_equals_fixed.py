"""What the nodes open is what the same integers give in the clear: to the last bit, always."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

import secure_fl
from secure_fl.aggregation import build_rule, rule_names, stage_factories
from secure_fl.backends import open_backend
from secure_fl.sessions import Backend
from tests.secure_fl.aggregation.oracles import KINDS, case
from tests.secure_fl.aggregation.test_rules_common import staged

RULES = rule_names()
WIDTHS = (1, 5, 64, 65, 130)  # a word holds 64 coordinates


def compare(
    backend: Backend, rule: Any, x: np.ndarray, reputation: np.ndarray, root: np.ndarray
) -> None:
    shared, clear = (
        secure_fl.aggregate(x, rule, where, reputation=reputation, reference=root)
        for where in (backend, "fixed")
    )
    same(shared, clear)
    declared = build_rule(rule).opens
    assert tuple(o.name for o in shared.opened) == declared
    assert set(shared.values) == set(declared) - {"update"}


def same(shared: Any, clear: Any) -> None:
    """Equal in every bit that leaves the nodes."""
    assert torch.equal(shared.update, clear.update)
    assert torch.equal(shared.accepted, clear.accepted)
    assert shared.opened == clear.opened
    for name, value in shared.values.items():
        assert torch.equal(value, clear.values[name])


@pytest.mark.parametrize("name", RULES)
def test_two_nodes(cluster: Backend, name: str) -> None:
    """Over all rules, all n from 1 to 21 and all kinds of input occur."""
    start = RULES.index(name)
    for k in range(6):
        n = (5 * start + 4 * k) % 21 + 1
        kind, d = KINDS[(start + k) % len(KINDS)], WIDTHS[(start + k) % len(WIDTHS)]
        compare(cluster, name, *case(kind, n, d, seed=k))


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
def test_order_statistics_for_every_number_of_hospitals(cluster: Backend, name: str) -> None:
    for n in range(1, 22):
        compare(cluster, name, *case(KINDS[n % len(KINDS)], n, 3, seed=n))


@pytest.mark.parametrize("name", sorted(stage_factories()))
def test_every_stage(cluster: Backend, name: str) -> None:
    for n, kind in ((2, "plain"), (7, "ties")):
        compare(cluster, staged(name), *case(kind, n, 6))


@pytest.fixture(scope="module", params=[3, 4])
def more_nodes(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with open_backend("mpc", nodes=request.param, timeout=60) as backend:
        yield backend


def test_three_and_four_nodes(more_nodes: Backend) -> None:
    """Every rule in one of the two; the nightly-style marker has the rest."""
    nodes = len(more_nodes.pids) - 1
    for k, name in enumerate(RULES[nodes % 2 :: 2]):
        kind = ("extreme", "ties")[k % 2]
        compare(more_nodes, name, *case(kind, 3 + k, WIDTHS[k % len(WIDTHS)]))


def test_first_party_preprocessing() -> None:
    """CrypTen's TFP in the dealer's place, by explicit request: slower, not safe, the same bits."""
    options = {"preprocessing": "first_party", "insecure_preprocessing": True, "timeout": 60}
    with open_backend("mpc", nodes=2, **options) as backend:
        for k, name in enumerate(("median", "trimmed_mean", "guarded", "algorithm2")):
            compare(backend, name, *case("plain", 3 + k, 5))


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(data=st.data())
def test_found_cases(cluster: Backend, data: st.DataObject) -> None:
    """Every integer that can be encoded, ends of the range among them."""
    name = data.draw(st.sampled_from(["median", "trimmed_mean", "cosine_median", "clipped_mean"]))
    n, d = data.draw(st.integers(1, 9)), data.draw(st.integers(1, 4))
    edge = 2**17 - 1
    values = st.one_of(st.integers(-edge, edge), st.sampled_from([-edge, -1, 0, 1, edge]))
    v = data.draw(arrays.arrays(np.int64, (n, d), elements=values))
    compare(cluster, build_rule(name, max_abs=2.0), v / 2**16, np.ones(n), np.ones(d))


@pytest.mark.parametrize("max_abs", [2.0**-8, 1.0, 3.0, 2.0**14])
def test_every_width(cluster: Backend, max_abs: float) -> None:
    """From 9 to 31 bits, values up to the end of the range."""
    rule = build_rule("trimmed_mean", max_abs=max_abs)
    edge = rule.limit - 2.0**-16
    rng = np.random.default_rng(0)
    x = rng.uniform(-edge, edge, (6, 70))
    x[0], x[1] = edge, -edge
    compare(cluster, rule, x, np.ones(6), np.ones(70))


def test_guarded_over_rounds(cluster: Backend) -> None:
    """State stays at the nodes between rounds; hospitals stay away and come late."""
    n, d = 6, 20
    rng = np.random.default_rng(1)
    sessions = [b.session("guarded", n, d) for b in (cluster, open_backend("fixed"))]
    for flags in ("110111", "111110", "011011", "111111"):
        present = [flag == "1" for flag in flags]
        root = 0.1 * rng.standard_normal(d)
        x = root + 0.1 * rng.standard_normal((n, d))
        x[2] *= -1
        reputation = rng.uniform(0, 1, n)
        results = [s.aggregate(s.submit(x, present), reputation, root) for s in sessions]
        same(*results)
    for session in sessions:
        session.close()


def test_sessions_beside_each_other(cluster: Backend) -> None:
    """Two sessions take turns and do not see each other's shares."""
    x, _, _ = case("plain", 4, 5)
    first, second = (cluster.session(name, 4, 5) for name in ("median", "mean"))
    one, two = first.submit(x), second.submit(2.0 * x)
    mean, median = second.aggregate(two), first.aggregate(one)
    assert torch.equal(median.update, secure_fl.aggregate(x, "median", "fixed").update)
    assert torch.equal(mean.update, secure_fl.aggregate(2.0 * x, "mean", "fixed").update)


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", RULES)
def test_a_hundred_random_cases_on_more_nodes(more_nodes: Backend, name: str) -> None:
    rng = np.random.default_rng(RULES.index(name))
    for seed in range(100):
        n, d = int(rng.integers(1, 34)), int(rng.integers(1, 9))
        compare(more_nodes, name, *case(KINDS[seed % len(KINDS)], n, d, seed))


@pytest.mark.nightly
@pytest.mark.timeout(7200)
@pytest.mark.parametrize("name", RULES)
def test_a_thousand_random_cases(cluster: Backend, name: str) -> None:
    rng = np.random.default_rng(RULES.index(name))
    for seed in range(1000):
        n, d = int(rng.integers(1, 34)), int(rng.integers(1, 9))
        compare(cluster, name, *case(KINDS[seed % len(KINDS)], n, d, seed))
