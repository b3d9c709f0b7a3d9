"""Numbers that do not fit the integers: the right value in every backend, or refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import Opens, Pipeline, Stage, build_rule, make_stage, rule_names
from secure_fl.aggregation.dry_run import rehearse_ranges
from secure_fl.aggregation.ops import Updates
from secure_fl.aggregation.pipeline import Context, State
from secure_fl.aggregation.ranges import MOST_STEPS, Span, point, shortest, within
from secure_fl.aggregation.worlds import fixed
from secure_fl.aggregation.worlds.constants import extra_bits
from secure_fl.backends.aggregate import open_backend
from secure_fl.errors import ConfigError, InputError
from secure_fl.hospital.sharing import lost_to_rounding
from tests.support.inside import play

CLEAR = ("plain", "fixed")
G = torch.tensor([1.0, 0.3, -0.2, 0.5, 0.1, -0.4, 0.2, 0.6], dtype=torch.float64)


def mean() -> Stage:
    return make_stage("weighted_mean", {"by": "uniform"})


# --- small numbers ----------------------------------------------------------------------------


def test_an_update_that_rounding_would_undo_is_refused_by_name() -> None:
    x = torch.stack([G] * 4 + [-G] * 2) * 1e-6
    plain = secure_fl.aggregate(x, "cosine_root", "plain", reference=G)
    assert plain.accepted.tolist() == [True] * 4 + [False] * 2
    with pytest.raises(InputError, match=r"hospital 0's update is refused: rounding to st"):
        secure_fl.aggregate(x, "cosine_root", "fixed", reference=G)
    for scale in (1e-3, 1.0):
        fixed = secure_fl.aggregate(x * 1e6 * scale, "cosine_root", "fixed", reference=G)
        assert torch.equal(fixed.accepted, plain.accepted)
        torch.testing.assert_close(fixed.update, G * scale, rtol=0, atol=2.0**-16)


def test_rounding_is_measured_by_the_update_s_own_length() -> None:
    step = 2.0**-16
    kept = [torch.zeros(5), torch.tensor([step, 0.0]), torch.full((1000,), 2.4 * step)]
    lost = [
        torch.full((9,), 0.4 * step),
        torch.tensor([0, 1e-200], dtype=torch.float64),
        torch.tensor([1.4 * step]),
    ]
    assert [lost_to_rounding(row.double()) for row in kept] == [None] * 3
    assert all("scale updates up" in (lost_to_rounding(row.double()) or "") for row in lost)
    # One small update among others: it alone stays away.
    session = open_backend("fixed").session("median", 3, 2)
    submission = session.submit([[0.5, 0.5], [1e-6, 1e-6], [0.25, 0.0]])
    assert list(submission.refused) == [1]
    assert session.aggregate(submission).update.tolist() == [0.375, 0.25]


def test_norms_shorter_than_rounding_are_refused_before_anything_is_clipped() -> None:
    x = torch.stack([G, G, -G])
    for rule in (build_rule("clipped_mean", max_norm=1e-5), build_rule("guarded", max_norm=1e-5)):
        with pytest.raises(InputError, match=r"a norm bound must be at least 4.98e-05 for d = 8"):
            secure_fl.aggregate(x, rule, "fixed", reference=G)
    assert shortest(8, 2.0**-16) == pytest.approx(4.98e-5, rel=1e-3)


# --- large public numbers -----------------------------------------------------------------------


@pytest.mark.parametrize("length", [1.0, 1e3, 1e5, 1e9, 1e300])
def test_clipping_and_screening_may_be_switched_off_by_a_large_norm(length: float) -> None:
    rng = np.random.default_rng(0)
    x = rng.uniform(-1.9, 1.9, (6, 40))
    for stage in ("clip_norm", "norm_screen"):
        rule = Pipeline((make_stage(stage, {"max_norm": length}), mean()), 2.0)
        plain, fixed = (secure_fl.aggregate(x, rule, backend) for backend in CLEAR)
        assert torch.equal(plain.accepted, fixed.accepted)
        torch.testing.assert_close(plain.update, fixed.update, rtol=0, atol=1e-4)
        if length > 1.0:
            np.testing.assert_allclose(fixed.update, x.mean(axis=0), atol=2.0**-16)


@pytest.mark.parametrize("max_norm", [1.0, 1000.0, 1e5])
def test_guarded_holds_for_many_rounds_whatever_its_norm(max_norm: float) -> None:
    rng = np.random.default_rng(1)
    rule = build_rule("guarded", max_norm=max_norm)
    sessions = [open_backend(backend).session(rule, 5, 30) for backend in CLEAR]
    root = rng.normal(size=30)
    for _ in range(40):
        x = root + 0.3 * rng.normal(size=(5, 30))
        x[4] *= -1
        x = np.clip(x, -1.9, 1.9)
        plain, fixed = (s.aggregate(s.submit(x), reference=root) for s in sessions)
        assert torch.equal(plain.accepted, fixed.accepted)
        torch.testing.assert_close(plain.update, fixed.update, rtol=0, atol=2e-4)


def test_a_public_factor_that_cannot_fit_is_refused_at_construction() -> None:
    for factor in (1e18, 2.0**21, 2.0**-41, 5e-324):
        with pytest.raises(InputError, match=r"deviations must be in \[2\^-40, 2\^20\]; got"):
            build_rule("guarded", deviations=factor)
    x = np.array([[0.5, 0.1], [0.4, 0.1], [0.5, 0.2], [-0.5, -0.1]])
    for factor in (1e-9, 9.0, 2.0**20):
        rule = build_rule("guarded", deviations=factor)
        plain, fixed = (secure_fl.aggregate(x, rule, b, reference=x[0]) for b in CLEAR)
        assert torch.equal(plain.accepted, fixed.accepted), factor


def squares(factor: float) -> Pipeline:
    """Keep updates whose squared norm is at most `factor` times the median of squared norms."""

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops = context.ops
        squared = ops.squared_norms(context.x)
        kept = ops.open("kept", ops.median_of(squared) * factor >= squared)
        return context.reject(kept), state

    return Pipeline((Stage(apply, opens=(Opens("kept"),)), mean()), 2.0)


def test_products_with_public_factors_rescale_by_themselves() -> None:
    """1.5 squared times a median of norms of 6,000 numbers: at 16 fractional bits it would wrap."""
    rng = np.random.default_rng(2)
    x = rng.uniform(-1.9, 1.9, (5, 6000))
    x[4] *= 0.1
    for factor in (2.25, 0.5, 3.0, 2.3, 1e18, 1e50, 1e-9, 0.0):
        plain, fixed = (secure_fl.aggregate(x, squares(factor), backend) for backend in CLEAR)
        assert torch.equal(plain.accepted, fixed.accepted), factor
    for factor in (1e300, 5e-324):
        with pytest.raises(InputError, match=r"a public factor must be 0 or between .*; got"):
            secure_fl.aggregate(x, squares(factor), "fixed")


@pytest.mark.parametrize("factor", [1.5**2, 1.3**2, 0.7])
def test_lengths_beside_their_median_at_the_end_of_the_range(factor: float) -> None:
    rng = np.random.default_rng(3)
    x = rng.choice([-7.0, 7.0], (7, 1000))
    x *= np.array([0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0])[:, None]
    rule = replace(squares(factor), max_abs=8.0)
    plain, fixed = (secure_fl.aggregate(x, rule, backend) for backend in CLEAR)
    assert torch.equal(plain.accepted, fixed.accepted)
    shared = play(rule, x)[0].accepted
    assert shared is not None
    assert torch.equal(plain.accepted, shared)
    assert 0 < int(shared.sum()) < 7


# --- the tolerance of scores -----------------------------------------------------------------


def test_a_mean_cosine_at_the_threshold_passes_in_every_backend() -> None:
    for backend in CLEAR:
        result = secure_fl.aggregate([[1.0], [1.0], [-1.0]], "cosine_pairwise", backend)
        assert result.accepted.tolist() == [True, True, False]
        assert result.update.tolist() == [1.0]


def test_two_against_one_is_the_same_in_every_backend() -> None:
    rng = np.random.default_rng(3)
    for case in range(200):
        d = 1 + case % 5
        direction = rng.normal(size=d)
        x = rng.uniform(0.01, 2.0, (3, 1)) * direction
        x[case % 3] *= -1
        x = np.rint(x * 2**16) / 2**16  # both backends see the same numbers
        plain, fixed = (secure_fl.aggregate(x, "cosine_pairwise", backend) for backend in CLEAR)
        assert torch.equal(plain.accepted, fixed.accepted), x


def test_a_mean_over_many_is_not_taken_by_a_rounded_factor() -> None:
    """1 / 499 at 16 fractional bits is a quarter of a percent too small."""
    x = torch.ones(500, 1, dtype=torch.float64)
    for backend in CLEAR:
        rule = build_rule("cosine_pairwise", threshold=0.999)
        assert bool(secure_fl.aggregate(x, rule, backend).accepted.all())


# --- before anything runs --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "params", "dim", "rounds", "said"),
    [
        *((name, {}, 5922, 20, None) for name in rule_names()),
        ("cosine_root", {"max_abs": 128.0}, 32_768, 1, None),
        (
            "cosine_root",
            {"max_abs": 128.0},
            32_769,
            1,
            r"round 1 of 1: stage cosine_screen: d must be at most 2\^61",
        ),
        (
            "cosine_median",
            {"threshold": 0.2, "max_abs": 128.0},
            34_114,
            5,
            "round 1 of 5: stage cosine_screen: d must be",
        ),
        ("guarded", {"max_norm": 1e5}, 5922, 150, None),
        ("guarded", {"max_norm": 1e5}, 5922, 151, "round 151 of 151: .* norms up to 23240"),
        ("guarded", {"max_norm": 1000.0, "max_abs": 64.0}, 5922, 23, None),
        (
            "guarded",
            {"max_norm": 1000.0, "max_abs": 64.0},
            5922,
            30,
            "round 24 of 30: stage trust_screen: d must",
        ),
        (
            "guarded",
            {"max_norm": 1e-4},
            5922,
            1,
            "round 1 of 1: stage [a-z_]+: a norm bound must be",
        ),
        (
            "clipped_mean",
            {"max_norm": 1e-4},
            5922,
            1,
            "round 1 of 1: stage [a-z_]+: a norm bound must be",
        ),
    ],
)
def test_ranges_of_all_rounds_are_known_in_advance(
    name: str, params: dict[str, Any], dim: int, rounds: int, said: str | None
) -> None:
    rule = build_rule(name, **params)
    if said is None:
        rehearse_ranges(rule, 20, dim, rounds)
    else:
        with pytest.raises(InputError, match=said):
            rehearse_ranges(rule, 20, dim, rounds)


@pytest.mark.parametrize(
    ("setting", "named"),
    [
        (["privacy.clip_norm=0.0001"], "privacy.clip_norm must be at least"),
        (["defence.params.max_norm=1e-4"], "a norm bound must be at least"),
        (["defence.params.max_abs=16000"], "d must be at most"),
    ],
)
def test_a_run_is_refused_before_its_folder_is_made(
    tmp_path: Path, setting: list[str], named: str
) -> None:
    small = ["data.rows=1500", "data.hospitals=4", "rounds=1"]
    folder = tmp_path / "run"
    with pytest.raises(ConfigError, match=named):
        secure_fl.run([*small, "defence=guarded", "defence.backend=fixed", *setting], folder)
    assert not folder.exists()


# --- spans -------------------------------------------------------------------------------------


def test_spans_hold_what_numbers_do() -> None:
    rng = np.random.default_rng(4)
    for _ in range(200):
        ends = np.sort(rng.normal(size=(2, 2)), axis=1)
        a, b = (Span(*pair) for pair in ends.tolist())
        x, y = (rng.uniform(low, high) for low, high in ends)
        for span, value in (
            (a.plus(b), x + y),
            (a.minus(b), x - y),
            (a.times(b), x * y),
            (a.scaled(y), x * y),
            (a.or_zero(), 0.0),
            (a.or_zero(), x),
            (point(x), x),
        ):
            assert span.low - 1e-12 <= value <= span.high + 1e-12
            assert abs(value) <= span.size + 1e-12
    assert Span().times(point(0.0)) == point(0.0)


def test_what_is_not_known_to_fit_is_refused() -> None:
    assert within(Span(-1.0, 2.0**40), 2.0**-20, "a sum") == Span(-1.0, 2.0**40)
    for span in (Span(), Span(0.0, 2 * MOST_STEPS), Span(-2 * MOST_STEPS, 0.0)):
        with pytest.raises(InputError, match=r"a sum must stay within 2\^62 steps of 1; got"):
            within(span, 1.0, "a sum")


def test_ranges_are_those_of_the_values() -> None:
    """Whatever an operation of the integers returns lies in the span that it says."""
    seen: list[tuple[Span, torch.Tensor]] = []

    def apply(context: Context, state: State) -> tuple[Context, State]:
        ops = context.ops
        squared = ops.squared_norms(context.x)
        score = ops.cosine(context.x, G)
        middle = ops.median_of(score)
        found = [
            *(squared, score, middle, ops.absolute(score - middle), ops.minimum(squared, 0.5)),
            *(ops.maximum(score, middle * -0.3), ops.median(context.x), squared * score),
            ops.sum(ops.pairwise_cosine(context.x)),
        ]
        seen.extend((secret.span, secret.data * secret.unit) for secret in found)
        return replace(context, update=ops.median(context.x)), state

    rng = np.random.default_rng(5)
    x = rng.uniform(-2, 2, (6, 8)) * rng.choice([1.0, 1e-2], (6, 1))
    secure_fl.aggregate(x, Pipeline((Stage(apply),), 2.0), "fixed")
    assert len(seen) == 9
    for span, values in seen:
        assert span.low <= float(values.min())
        assert float(values.max()) <= span.high < 1e3


def test_rows_of_two_units_are_brought_to_the_finer_one_exactly() -> None:
    ops = fixed.ClearOps()
    coarse = fixed.wrap(torch.tensor([[1.0, -2.0], [0.25, 2.0**-16]], dtype=torch.float64), 18)
    odd = Updates(fixed.ClearMatrix(torch.tensor([[3, -1], [5, 7]]), 19), (2, 2), 2.0**-17)
    scaled = coarse.data.values * 2
    for total, x in ((coarse, odd), (odd, coarse)):
        added = ops.accumulate(total, x)
        assert (added.unit, added.data.bits) == (2.0**-17, 20)
        assert torch.equal(added.data.values, scaled + odd.data.values)
    joined = ops.join([coarse, odd])
    assert (joined.unit, joined.shape, joined.data.bits) == (2.0**-17, (4, 2), 19)
    assert torch.equal(joined.data.values, torch.cat([scaled, odd.data.values]))


def test_rows_that_a_finer_unit_would_make_too_wide_are_refused() -> None:
    ops = fixed.ClearOps()
    coarse = fixed.wrap(torch.ones(1, 1, dtype=torch.float64), 40)
    one = fixed.ClearMatrix(torch.ones(1, 1, dtype=torch.int64), 18)
    assert ops.join([coarse, Updates(one, (1, 1), 2.0**-39)]).data.bits == 63
    finer = Updates(one, (1, 1), 2.0**-40)
    with pytest.raises(InputError, match="bits of rows in finer steps must be at most 63; got 64"):
        ops.join([coarse, finer])
    with pytest.raises(InputError, match="bits of rows in finer steps must be at most 63; got 64"):
        ops.accumulate(coarse, finer)


def test_a_factor_that_is_no_power_of_two_widens_by_whole_bits() -> None:
    assert [extra_bits(factor) for factor in (1, 2, 3, 4, 5, 8)] == [0, 1, 2, 2, 3, 3]
