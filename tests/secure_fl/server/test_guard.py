"""The public part of the guarded defence against NumPy, scikit-learn and slow loops."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sklearn.metrics import log_loss
from sklearn.utils.class_weight import compute_sample_weight

from secure_fl.data.dataset import Split
from secure_fl.data.preprocessing import balance_classes
from secure_fl.errors import InputError
from secure_fl.hospital.training import train
from secure_fl.server.guard import (
    GuardOptions,
    RootDirections,
    balanced_loss,
    combine,
    gate,
    open_gate,
    project,
    root_directions,
)
from tests.support.root_rows import NET, OPTIONS, generator, rows, start


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("screen", "publc"),
        ("bootstraps", -1),
        ("damping", 1.1),
        ("damping", -0.1),
        ("root_share", 1.5),
        ("root_share", -0.1),
        ("steps", ()),
        ("steps", (0.5, 0.0)),
        ("patience", 0),
        ("tuning", "distilation"),
        ("tune_start", "begin"),
        ("tune_steps", -1),
        ("tune_runs", 0),
        ("tune_epochs", -1),
        ("tune_copies", 0),
        ("tune_share", 2.0),
        ("tune_labels", -0.1),
        ("bootstraps", 1001),
        ("steps", (0.5,) * 101),
    ],
)
def test_bad_options_are_refused_by_name(name, value):
    with pytest.raises(InputError, match=rf"^{name} must be .*got "):
        GuardOptions(**{name: value})


@pytest.mark.parametrize("name", ["tune_runs", "tune_epochs", "tune_copies"])
def test_work_without_an_end_is_refused(name):
    with pytest.raises(InputError, match=r"tune_runs.*tune_copies must be at most 10000"):
        GuardOptions(**{name: 40_000})
    with pytest.raises(InputError, match=r"tune_runs \* tune_steps \* tune_copies must be at most"):
        GuardOptions(tune_steps=313)  # of eight runs and four copies
    GuardOptions(tune_steps=250, tune_copies=4, tune_start="public", tune_runs=9)
    with pytest.raises(InputError, match=r"\(tune_runs \+ 1\) \* tune_steps \* .*; got 10040"):
        GuardOptions(tune_steps=251, tune_copies=4, tune_start="public", tune_runs=9)
    with pytest.raises(InputError, match="at most 10000 each"):
        GuardOptions(**{"tune_epochs": 0, "tune_copies": 10**12})


@given(st.integers(1, 6), st.integers(1, 9), st.integers(0, 3), st.integers(0, 999))
@settings(max_examples=60, deadline=None)
def test_project_equals_least_squares(count, dim, repeats, seed):
    """Also with more rows than dimensions and with rows that repeat others."""
    rng = np.random.default_rng(seed)
    basis = rng.normal(size=(count, dim))
    basis = np.vstack([basis, *[basis[:1] * 2] * repeats])
    vector = rng.normal(size=dim)
    want = basis.T @ np.linalg.lstsq(basis.T, vector, rcond=None)[0]
    got = project(torch.from_numpy(vector), torch.from_numpy(basis))
    np.testing.assert_allclose(got, want, atol=1e-9)


def test_project_on_no_direction_is_zero():
    vector = torch.ones(4)
    assert torch.equal(project(vector, torch.zeros(3, 4)), torch.zeros(4))


@pytest.mark.parametrize("damping", [0.0, 0.3, 1.0])
@pytest.mark.parametrize("share", [0.0, 0.3, 1.0])
def test_combine_equals_its_formula(damping, share):
    rng = np.random.default_rng(1)
    aggregate, update, spans = rng.normal(size=9), rng.normal(size=9), rng.normal(size=(4, 9))
    inside = spans.T @ np.linalg.lstsq(spans.T, aggregate, rcond=None)[0]
    want = (1 - share) * (inside + damping * (aggregate - inside)) + share * update
    root = RootDirections(*map(torch.from_numpy, (update, spans, update)))
    got = combine(torch.from_numpy(aggregate), root, damping, share)
    np.testing.assert_allclose(got, want, atol=1e-12)


def test_combine_without_bootstraps_leaves_the_aggregate_whole():
    aggregate, update = torch.tensor([1.0, 2.0]), torch.tensor([3.0, -1.0])
    got = combine(aggregate, RootDirections(update, torch.zeros(0, 2), update), 0.0, 0.25)
    torch.testing.assert_close(got, 0.75 * aggregate + 0.25 * update)


def test_root_directions_equal_one_training_after_another():
    root, options, others = rows(), OPTIONS, rows(50, seed=8)
    got = root_directions(NET, start(), root, options, 3, seed=11, compared=others)
    rng = generator(11)
    samples = [root]
    for _ in range(3):
        drawn = torch.randint(len(root), (len(root),), generator=rng)
        samples.append(Split(root.x[drawn], root.y[drawn]))
    samples.append(others)
    balanced = [balance_classes(sample, rng) for sample in samples]
    assert all(torch.bincount(sample.y).unique().numel() == 1 for sample in balanced)
    for i, sample in enumerate(balanced):
        alone = train(NET, start(), [sample], options, [12 + i])[0]
        row = [got.update, *got.bootstraps, got.reference][i]
        torch.testing.assert_close(row, alone, atol=2e-5, rtol=1e-3)
    assert got.bootstraps.shape == (3, NET.num_parameters)


def test_hospitals_are_compared_with_half_a_unless_told_otherwise():
    plain = root_directions(NET, start(), rows(), OPTIONS, 3, seed=11)
    assert torch.equal(plain.reference, plain.update)
    wider = root_directions(NET, start(), rows(), OPTIONS, 3, seed=11, compared=rows(50, seed=8))
    torch.testing.assert_close(wider.update, plain.update)
    torch.testing.assert_close(wider.bootstraps, plain.bootstraps)
    assert not torch.allclose(wider.reference, plain.reference, atol=1e-4)


def test_root_directions_depend_on_the_seed_and_need_no_bootstraps():
    one, two, other = (root_directions(NET, start(), rows(), OPTIONS, 2, seed=s) for s in (1, 1, 2))
    assert torch.equal(one.update, two.update)
    assert torch.equal(one.bootstraps, two.bootstraps)
    assert not torch.allclose(one.update, other.update, atol=1e-4)
    none = root_directions(NET, start(), rows(), OPTIONS, 0, seed=1)
    assert none.bootstraps.shape == (0, NET.num_parameters)


@given(st.integers(0, 999), st.integers(2, 40))
@example(639, 2)  # logits 32 apart: 1 - p of the sure class has three digits left in float64
@settings(max_examples=40, deadline=None)
def test_balanced_loss_equals_scikit_learn(seed, m):
    rng = generator(seed)
    x = torch.rand(m, 6, generator=rng)
    y = torch.randint(2, (m,), generator=rng)
    y[:2] = torch.tensor([0, 1])
    params = torch.randn(NET.num_parameters, generator=rng)
    probability = NET.logits(params[None], x[None])[0].double().softmax(1)
    weight = compute_sample_weight("balanced", y.numpy())
    # Both columns: from one, scikit-learn finds the other as 1 - p, which cancels.
    want = log_loss(y.numpy(), probability.numpy(), sample_weight=weight)
    assert balanced_loss(NET, params, Split(x, y)) == pytest.approx(want, rel=1e-12, abs=1e-12)


def test_balanced_loss_is_exact_at_any_logits():
    """Thousands apart: log(1 + exp(-gap)) of each row, where probabilities are 0 and 1."""
    rng = generator(0)
    x, y = torch.rand(40, 6, generator=rng), torch.arange(40) % 2
    params = 20 * torch.randn(NET.num_parameters, generator=rng)
    logits = NET.logits(params[None], x[None])[0].tolist()
    gaps = [row[1 - int(c)] - row[int(c)] for row, c in zip(logits, y, strict=True)]
    losses = [max(gap, 0.0) + math.log1p(math.exp(-abs(gap))) for gap in gaps]
    want = (math.fsum(losses[::2]) + math.fsum(losses[1::2])) / 40
    assert max(map(abs, gaps)) > 1000
    assert balanced_loss(NET, params, Split(x, y)) == pytest.approx(want, rel=1e-12)


def test_balanced_loss_of_one_class_is_its_mean():
    split = replace(rows(), y=torch.ones(60, dtype=torch.int64))
    logits = NET.logits(start()[None], split.x[None])[0].double()
    want = -logits.log_softmax(1)[:, 1].mean().item()
    assert balanced_loss(NET, start(), split) == pytest.approx(want, rel=1e-5)


@given(st.integers(0, 999), st.floats(0.01, 30))
@settings(max_examples=60, deadline=None)
def test_gate_takes_the_best_step_and_never_a_loss(seed, length):
    rng = generator(seed)
    holdout = rows(seed=seed)
    state = open_gate(NET, start(), holdout)
    direction = length * torch.randn(NET.num_parameters, generator=rng)
    steps = (0.1, 0.5, 1.0)
    following, taken = gate(NET, state, direction, holdout, steps)
    tried = {s: balanced_loss(NET, start() + s * direction, holdout) for s in steps}
    best = min(tried, key=tried.__getitem__)
    if tried[best] < state.loss - 1e-6:
        assert taken == best
        assert following.loss == pytest.approx(tried[best], rel=1e-5)
        assert following.stale == 0
        torch.testing.assert_close(following.params, start() + best * direction)
    elif tried[best] > state.loss + 1e-6:
        assert taken == 0
        assert torch.equal(following.params, start())
        assert (following.loss, following.stale) == (state.loss, 1)
    assert following.loss <= state.loss


def test_gate_sees_both_outcomes():
    """The property above is not empty: a trained direction is taken, its opposite refused."""
    split = rows(400)
    state = open_gate(NET, start(), split)
    direction = train(NET, start(), [balance_classes(split, generator(0))], OPTIONS, [1])[0]
    better, taken = gate(NET, state, direction, split)
    assert taken > 0
    assert better.loss < state.loss
    same, taken = gate(NET, state, -direction, split)
    assert taken == 0
    assert same.stale == 1


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_gate_refuses_a_direction_that_is_not_finite(value):
    split = rows()
    state = open_gate(NET, start(), split)
    following, taken = gate(NET, state, torch.full((NET.num_parameters,), value), split)
    assert taken == 0
    assert torch.equal(following.params, state.params)


def test_gate_finishes_after_so_many_rounds_without_gain():
    split = rows()
    state = open_gate(NET, start(), split)
    away = -train(NET, start(), [balance_classes(split, generator(0))], OPTIONS, [1])[0]
    seen = []
    for _ in range(3):
        state, _ = gate(NET, state, away, split)
        seen.append((state.stale, state.finished(3)))
    assert seen == [(1, False), (2, False), (3, True)]
