"""What the nodes open is what the same integers give in the clear: to the last bit, always."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule, rule_names, stage_factories
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.errors import InputError
from tests.secure_fl.aggregation.test_rules_common import staged
from tests.support.covering import covering_rules, few_repetitions
from tests.support.found import as_declared, fitting, same, search
from tests.support.oracles import KINDS, case

RULES = rule_names()
WIDTHS = (1, 5, 64, 65, 130)  # a word holds 64 coordinates


def compare(
    backend: Backend, rule: Any, x: np.ndarray, reputation: np.ndarray, root: np.ndarray
) -> None:
    public = {"reputation": reputation, "reference": root, "model": root}
    shared = secure_fl.aggregate(x, rule, backend, **public)
    same(shared, secure_fl.aggregate(x, rule, "fixed", seed=shared.seed, **public))
    as_declared(shared, build_rule(rule), *x.shape)


@pytest.mark.parametrize("name", RULES)
def test_two_nodes(cluster: Backend, name: str) -> None:
    """Over all rules, all n from 1 to 21 and all kinds of input occur."""
    start = RULES.index(name)
    for k in range(4):
        n = fitting(build_rule(name), (5 * start + 4 * k) % 21 + 1)
        kind, d = KINDS[(start + k) % len(KINDS)], WIDTHS[(start + k) % len(WIDTHS)]
        compare(cluster, name if k == 0 else few_repetitions(name), *case(kind, n, d, seed=k))


@pytest.mark.parametrize("name", ["median", "trimmed_mean"])
def test_order_statistics_for_every_number_of_hospitals(cluster: Backend, name: str) -> None:
    for n in range(1, 22):
        compare(cluster, name, *case(KINDS[n % len(KINDS)], n, 3, seed=n))


@pytest.mark.parametrize("name", covering_rules())
def test_more_hospitals_than_a_word_has_bits(cluster: Backend, name: str) -> None:
    rule = few_repetitions(name)
    compare(cluster, rule, *case("ties", fitting(rule, 65), 3))


@pytest.mark.parametrize("name", ["guarded", "cosine_pairwise", "median"])
def test_more_hospitals_than_two_words_have_bits(cluster: Backend, name: str) -> None:
    compare(cluster, name, *case("plain", 129, 2))


@pytest.mark.parametrize("sign", [1.0, -1.0], ids=["with the root", "away from it"])
def test_a_screen_that_spares_who_does_not_point_away(cluster: Backend, sign: float) -> None:
    rule = build_rule("guarded", spared=-0.15)
    for n in (2, 7, 20):
        x, reputation, root = case("plain", n, 5, seed=n)
        compare(cluster, rule, x, reputation, sign * root)


def test_as_many_hospitals_as_settings_allow(cluster: Backend) -> None:
    for name in ("guarded", "cosine_root"):
        compare(cluster, name, *case("plain", 500, 2))


def test_history_in_the_finer_of_two_units(cluster: Backend) -> None:
    """Trimming an even number of rows halves the unit, and the history takes rows of both."""
    stages = [
        {"trim_to_median": {"beta": 0.2}},
        "trust_screen",
        {"weighted_mean": {"by": "uniform"}},
    ]
    rule = build_rule({"max_abs": 2.0, "stages": stages})
    n, d = 6, 5
    x, _, _ = case("plain", n, d)
    for counts in ((6, 5, 6), (5, 6, 4, 3), (4, 5, 6)):
        where = [cluster, open_backend("fixed"), open_backend("plain")]
        sessions = [backend.session(rule, n, d) for backend in where]
        for number, count in enumerate(counts):
            present, updates = [i < count for i in range(n)], x * (1 - number / 4)
            shared, clear, plain = (
                session.aggregate(session.submit(updates, present), reference=x.mean(axis=0))
                for session in sessions
            )
            same(shared, clear)
            assert torch.equal(clear.accepted, plain.accepted)
            torch.testing.assert_close(clear.update, plain.update, atol=2**-12, rtol=0)
        sessions[0].close()


def test_weights_by_numbers_of_rows(cluster: Backend) -> None:
    x, _, _ = case("plain", 7, 65)
    rule = build_rule({"stages": [{"weighted_mean": {"by": "samples"}}]})
    for samples in ([1, 2, 3, 500, 40, 0, 7], [0] * 7, None):
        shared, clear, plain = (
            secure_fl.aggregate(x, rule, where, samples=samples)
            for where in (cluster, "fixed", "plain")
        )
        same(shared, clear)
        torch.testing.assert_close(shared.update, plain.update, atol=2**-12, rtol=0)


def test_public_numbers_beyond_the_range(cluster: Backend) -> None:
    """They hold, or all nodes refuse them by name and go on."""
    x, _, root = case("plain", 5, 8)
    for params in ({"max_norm": 1e5}, {"max_norm": 1e300}, {"deviations": 2.0**20}):
        compare(cluster, build_rule("guarded", **params), x, np.ones(5), root)
    screen = {"max_abs": 4.0, "stages": [{"norm_screen": {"max_norm": 1e9}}, "coordinate_median"]}
    compare(cluster, build_rule(screen), x, np.ones(5), root)
    for backend in (cluster, "fixed"):
        with pytest.raises(InputError, match="a norm bound must be at least"):
            secure_fl.aggregate(x, build_rule("clipped_mean", max_norm=1e-5), backend)
        with pytest.raises(InputError, match=r"hospital 0's update is refused: .* scale updates"):
            secure_fl.aggregate(1e-7 * x, "cosine_root", backend, reference=root)


def test_a_mean_cosine_at_the_threshold_is_not_rejected(cluster: Backend) -> None:
    for rows in ([1.0, 1.0, -1.0], [0.3, -0.7, 0.01], [-1.5, 1.9, 0.2]):
        x = np.array(rows)[:, None]
        compare(cluster, "cosine_pairwise", x, np.ones(3), np.ones(1))


IN_RULES = {step.config[0] for name in RULES for step in build_rule(name).stages}


@pytest.mark.parametrize("name", sorted(set(stage_factories()) - IN_RULES))
def test_every_stage_of_no_rule(cluster: Backend, name: str) -> None:
    for n, kind in ((2, "plain"), (7, "ties")):
        compare(cluster, staged(name), *case(kind, n, 6))


@pytest.fixture(scope="module", params=[3, 4])
def more_nodes(request: pytest.FixtureRequest) -> Iterator[Backend]:
    with open_backend("mpc", nodes=request.param, timeout=60) as backend:
        yield backend


def test_three_and_four_nodes(more_nodes: Backend) -> None:
    """Rules that together take every path of the arithmetic."""
    for k, name in enumerate(covering_rules()):
        rule, kind = few_repetitions(name), ("extreme", "ties")[k % 2]
        compare(more_nodes, rule, *case(kind, fitting(rule, 3 + k), WIDTHS[k % len(WIDTHS)]))


def test_first_party_preprocessing() -> None:
    """CrypTen's TFP in the dealer's place, by explicit request: slower, not safe, the same bits."""
    options = {"preprocessing": "first_party", "insecure_preprocessing": True, "timeout": 60}
    with open_backend("mpc", nodes=2, **options) as backend:
        for k, name in enumerate(("median", "trimmed_mean", "guarded", "algorithm2")):
            compare(backend, name, *case("plain", 3 + k, 5))


@pytest.mark.parametrize("name", RULES)
def test_found_cases(cluster: Backend, name: str) -> None:
    """A few of what the nightly tests have a thousand of, on fewer coordinates than a word."""
    assert search(cluster, name, 4) >= 4


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


def test_rounding_strikes_no_hospital(cluster: Backend) -> None:
    """Equal scores but one, lower by a rounding: see the trust screen's tolerance."""
    x = np.tile([0.5, 0.25, -0.5, 0.125], (5, 1))
    x[3, 1] -= 2.0**-16
    x[4] *= 2.0
    root = np.array([0.4, 0.5, -0.3, 0.1])
    result = secure_fl.aggregate(x, "guarded", cluster, reference=root)
    assert result.accepted.all()
    same(result, secure_fl.aggregate(x, "guarded", "fixed", reference=root))
