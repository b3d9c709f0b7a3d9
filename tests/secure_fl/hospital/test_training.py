"""Batched local training against a slow loop, one hospital at a time, with torch.optim."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from secure_fl.data.dataset import Split
from secure_fl.errors import ConfigError, InputError
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.privacy import gaussian
from secure_fl.hospital.training import (
    Scaffold,
    clip,
    clip_and_noise,
    init_scaffold,
    train,
    train_scaffold,
)
from secure_fl.models import CNN, MLP, Model

SIZES = (70, 5, 33, 64, 1)


def splits_for(model: Model, sizes=SIZES) -> list[Split]:
    rng = torch.Generator().manual_seed(7)
    out = []
    for m in sizes:
        x = torch.rand(m, *model.feature_shape, generator=rng)
        out.append(Split(x, torch.randint(model.classes, (m,), generator=rng)))
    return out


def start_of(model: Model) -> torch.Tensor:
    return model.init(torch.Generator().manual_seed(1))


def slow_loop(model, start, split, options, seed, correction=0.0):
    """One hospital: autograd through `logits`, torch.optim, a Python loop over its batches."""
    w = start.clone().requires_grad_()
    make = {"adam": torch.optim.Adam, "sgd": torch.optim.SGD}[options.optimizer]
    optimizer = make([w], lr=options.lr)
    generator = torch.Generator().manual_seed(seed)
    for _ in range(options.epochs):
        for rows in torch.randperm(len(split), generator=generator).split(options.batch_size):
            optimizer.zero_grad()
            out = model.logits(w.unsqueeze(0), split.x[rows].unsqueeze(0))[0]
            loss = F.cross_entropy(out, split.y[rows])
            loss = loss + options.proximal_mu / 2 * (w - start).square().sum()
            (loss + (w * correction).sum()).backward()
            optimizer.step()
    return w.detach() - start


@pytest.mark.parametrize("model", [MLP((6,), 2, (8, 4)), CNN((1, 8, 8), 3, (2, 3), 4)])
@pytest.mark.parametrize(
    "options",
    [
        TrainOptions(),
        TrainOptions(optimizer="sgd", lr=0.1),
        TrainOptions(epochs=2, batch_size=7, proximal_mu=0.5),
        TrainOptions(epochs=1, batch_size=1000),
    ],
    ids=str,
)
def test_train_equals_the_slow_loop(model, options):
    splits, start, seeds = splits_for(model), start_of(model), [11, 12, 13, 14, 15]
    got = train(model, start, splits, options, seeds)
    want = [slow_loop(model, start, s, options, k) for s, k in zip(splits, seeds, strict=True)]
    assert got.abs().max() > 1e-3
    torch.testing.assert_close(got, torch.stack(want), atol=2e-5, rtol=1e-3)


def test_a_hospital_does_not_depend_on_the_others():
    model = MLP((6,), 2)
    splits, start, seeds = splits_for(model), start_of(model), [1, 2, 3, 4, 5]
    together = train(model, start, splits, TrainOptions(), seeds)
    some = [3, 0]
    apart = train(model, start, [splits[i] for i in some], TrainOptions(), [seeds[i] for i in some])
    torch.testing.assert_close(apart, together[some], atol=2e-5, rtol=1e-3)


def test_training_is_deterministic_and_seeded():
    model = MLP((6,), 2)
    splits, start = splits_for(model), start_of(model)
    one, two = (train(model, start, splits, TrainOptions(), [9] * 5) for _ in range(2))
    other = train(model, start, splits, TrainOptions(), [8] * 5)
    assert torch.equal(one, two)
    assert not torch.allclose(one[0], other[0], atol=1e-5)


def test_inputs_are_left_alone():
    model = MLP((6,), 2)
    splits, start = splits_for(model), start_of(model)
    before = [start.clone(), *(s.x.clone() for s in splits)]
    train(model, start, splits, TrainOptions(), range(5))
    assert all(map(torch.equal, before, [start, *(s.x for s in splits)]))


def test_scaffold_equals_its_formulas():
    """Two rounds against the slow loop with the control variates of option II by hand."""
    model = MLP((6,), 2, (8,))
    options = TrainOptions(optimizer="sgd", lr=0.05, epochs=2)
    splits, start, seeds = splits_for(model), start_of(model), [1, 2, 3, 4, 5]
    state = init_scaffold(5, model.num_parameters)
    server, local = state.server.clone(), [row.clone() for row in state.local]
    for _ in range(2):
        got, state = train_scaffold(model, start, splits, options, seeds, state)
        moved = []
        for i, split in enumerate(splits):
            u = slow_loop(model, start, split, options, seeds[i], server - local[i])
            torch.testing.assert_close(got[i], u, atol=1e-5, rtol=1e-4)
            steps = options.epochs * -(-len(split) // options.batch_size)
            moved.append(local[i] - server - u / (steps * options.lr))
        server = server + torch.stack([b - a for a, b in zip(local, moved, strict=True)]).mean(0)
        local = moved
        start = start + got.mean(0)
    torch.testing.assert_close(state.server, server, atol=1e-4, rtol=1e-3)
    torch.testing.assert_close(state.local, torch.stack(local), atol=1e-4, rtol=1e-3)


def test_scaffold_refuses_adam_and_wrong_state():
    model = MLP((6,), 2)
    args = (model, start_of(model), splits_for(model))
    state = init_scaffold(5, model.num_parameters)
    with pytest.raises(InputError, match='optimizer with SCAFFOLD must be "sgd"'):
        train_scaffold(*args, TrainOptions(), range(5), state)
    sgd = TrainOptions(optimizer="sgd")
    with pytest.raises(InputError, match=r"state\.local must be of shape"):
        train_scaffold(*args, sgd, range(5), Scaffold(state.server, state.local[:2]))


def test_refuses_empty_hospital_wrong_shapes_and_seeds():
    model = MLP((6,), 2)
    start, splits = start_of(model), splits_for(model)
    none = Split(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64))
    with pytest.raises(InputError, match="hospital 1 must be given at least one row; got 0"):
        train(model, start, [splits[0], none], TrainOptions(), [1, 2])
    with pytest.raises(InputError, match="seeds must be 5, one a hospital; got 2"):
        train(model, start, splits, TrainOptions(), [1, 2])
    with pytest.raises(InputError, match="splits must be at least one; got 0"):
        train(model, start, [], TrainOptions(), [])
    with pytest.raises(InputError, match="start must be of shape"):
        train(model, start[:-1], splits, TrainOptions(), range(5))
    narrow = Split(torch.zeros(3, 5), torch.zeros(3, dtype=torch.int64))
    with pytest.raises(InputError, match="hospital 0's x must be"):
        train(model, start, [narrow], TrainOptions(), [1])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"epochs": 0}, "train.epochs must be at least 1; got 0"),
        ({"batch_size": 0}, "train.batch_size must be at least 1"),
        ({"lr": 0.0}, "train.lr must be > 0"),
        ({"lr": float("nan")}, "train.lr must be > 0"),
        ({"optimizer": "adan"}, "train.optimizer must be"),
        ({"proximal_mu": -1.0}, "train.proximal_mu must be >= 0"),
    ],
)
def test_options_refuse(change, message):
    with pytest.raises(ConfigError, match=message):
        TrainOptions(**change)


def test_clip_bounds_long_rows_only():
    updates = torch.tensor([[3.0, 4.0], [0.3, 0.4], [0.0, 0.0]])
    torch.testing.assert_close(clip(updates, 1.0), torch.tensor([[0.6, 0.8], [0.3, 0.4], [0, 0]]))
    assert updates[0, 0] == 3.0


def test_noise_has_the_stated_deviation_and_comes_from_a_key_a_row():
    updates, keys = torch.zeros(4, 20_000), [bytes([i] * 16) for i in range(4)]
    one, two = (clip_and_noise(updates, 1.0, 0.25, keys) for _ in range(2))
    assert torch.equal(one, two)
    assert len(one[:, 0].unique()) == 4
    assert torch.equal(clip_and_noise(updates[:1], 1.0, 0.25, keys[2:3])[0], one[2])
    assert one.std().item() == pytest.approx(0.25, rel=0.02)
    assert torch.equal(clip_and_noise(updates, 1.0, 0.0), updates)
    rows = torch.tensor([[3.0, 4.0], [0.3, 0.4]])
    noise = torch.tensor(np.array([gaussian(key, 2) for key in keys[:2]]))
    want = clip(rows, 1.0) + 0.25 * noise
    torch.testing.assert_close(clip_and_noise(rows, 1.0, 0.25, keys[:2]), want.float())


def test_options_are_the_papers_by_default():
    assert TrainOptions() == TrainOptions(5, 32, 0.001, "adam", 0.0, "cpu")
    one = TrainOptions(epochs=1, batch_size=1)
    assert (one.epochs, one.batch_size) == (1, 1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ((0.0, 0.0), "clip_norm must be > 0"),
        ((1.0, -0.1), "noise_sigma must be >= 0"),
        ((1.0, 0.1), "keys must be one a row when noise is added, 1; got 0"),
        ((None, 0.1), "clip_norm must be given"),
    ],
)
def test_clip_and_noise_refuses(args, message):
    with pytest.raises(InputError, match=message):
        clip_and_noise(torch.ones(1, 2), *args)
