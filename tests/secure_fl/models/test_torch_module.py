"""Modules of one's own beside the built-in networks and beside themselves, one at a time."""

from __future__ import annotations

import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import secure_fl
import secure_fl.models
from eval.bench.training_ways import as_module, loop, made_up
from secure_fl.data.dataset import Split
from secure_fl.errors import InputError
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models import CNN, MLP, Model, TorchModule
from tests.secure_fl.models.test_models import as_module as as_any_module

OPTIONS = TrainOptions(epochs=2, lr=0.01)


def sample(model: Model, n: int = 3, batch: int = 6) -> tuple[torch.Tensor, ...]:
    rng = torch.Generator().manual_seed(0)
    params = model.init(rng) + 0.1 * torch.randn(n, model.num_parameters, generator=rng)
    x = torch.rand(n, batch, *model.feature_shape, generator=rng)
    y = torch.randint(model.classes, (n, batch), generator=rng)
    return params, x, y, torch.rand(n, batch, generator=rng)


@pytest.mark.parametrize("built_in", [MLP((7,), 2), MLP((5,), 3, hidden=(4,)), CNN((1, 8, 12), 2)])
def test_a_module_is_the_built_in_network(built_in: Model) -> None:
    start = built_in.init(torch.Generator().manual_seed(3))
    module = as_any_module(built_in, start)
    adapter = TorchModule(module, built_in.feature_shape, built_in.classes)
    begun = adapter.init(torch.Generator())
    assert torch.equal(begun, nn.utils.parameters_to_vector(module.parameters()).detach())
    rng = torch.Generator().manual_seed(1)
    splits = [
        Split(
            torch.rand(m, *built_in.feature_shape, generator=rng),
            torch.randint(built_in.classes, (m,), generator=rng),
        )
        for m in (40, 7, 33)
    ]
    mine = train(built_in, start, splits, OPTIONS, [1, 2, 3])
    theirs = train(adapter, begun, splits, OPTIONS, [1, 2, 3])
    for one, two, split in zip(mine, theirs, splits, strict=True):
        wanted = as_any_module(built_in, start + one)(split.x)
        torch.testing.assert_close(
            adapter.to_module(begun + two)(split.x), wanted, atol=1e-4, rtol=1e-3
        )


class Residual(nn.Module):
    """Attention over columns, a norm and a tied weight: what no built-in network has."""

    def __init__(self) -> None:
        super().__init__()
        self.lift = nn.Linear(1, 8)
        self.attention = nn.MultiheadAttention(8, 2, batch_first=True)
        self.norm = nn.LayerNorm(8)
        self.head = nn.Linear(8, 3)
        self.again = self.lift
        self.other = nn.Linear(1, 8)
        self.other.weight = self.lift.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        lifted = self.lift(x.unsqueeze(-1)) + self.other(self.again(x.unsqueeze(-1))[..., :1])
        mixed, _ = self.attention(lifted, lifted, lifted, need_weights=False)
        out: torch.Tensor = self.head(self.norm(lifted + mixed).mean(1))
        return out


def test_gradients_are_those_of_one_module_at_a_time() -> None:
    torch.manual_seed(0)
    model = TorchModule(Residual(), (5,), 3)
    params, x, y, weight = sample(model)
    got = model.gradients(params, x, y, weight)
    for i in range(len(params)):
        module = model.to_module(params[i])
        losses = nn.functional.cross_entropy(module(x[i]), y[i], reduction="none")
        (losses * weight[i]).sum().backward()
        wanted = torch.cat([p.grad.flatten() for p in module.parameters() if p.grad is not None])
        torch.testing.assert_close(got[i], wanted, atol=1e-5, rtol=1e-4)
        torch.testing.assert_close(model.logits(params, x)[i], module(x[i]), atol=1e-5, rtol=1e-4)


def test_the_loop_of_the_benchmark_trains_the_same_models() -> None:
    network = MLP((58,), 2)
    start = network.init(torch.Generator().manual_seed(0))
    module, splits = as_module(network, start), made_up(3)
    adapter = TorchModule(module, (58,), 2)
    begun, seeds = adapter.init(torch.Generator()), [4, 5, 6]
    batched = train(adapter, begun, splits, OPTIONS, seeds)
    one_by_one = loop(module, splits, OPTIONS, seeds)
    torch.testing.assert_close(batched, one_by_one, atol=2e-3, rtol=1e-2)
    assert torch.equal(begun, nn.utils.parameters_to_vector(module.parameters()).detach())


def test_a_federation_takes_a_module_and_keeps_a_copy() -> None:
    def rows(m: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
        x = np.random.default_rng(seed).random((m, 5))
        return x, x[:, :3].argmax(axis=1)

    torch.manual_seed(0)
    module = nn.Sequential(nn.Linear(5, 8), nn.GELU(), nn.Linear(8, 3))
    federation = secure_fl.Federation.from_arrays(
        [rows(80, i) for i in range(4)], rows(40, 9), [rows(30, 10)], rows(90, 11), module
    )
    before = federation.initial.clone()
    with torch.no_grad():
        module[0].weight.zero_()
    train_ = {"epochs": 3, "lr": 0.02}
    result = secure_fl.run(
        federation, attack="sign_flip", defence="median", malicious=0.25, rounds=4, train=train_
    )
    assert torch.equal(federation.at(5).initial, before)
    accuracy = result.frame["test_accuracy"]
    assert accuracy.iloc[-1] > max(0.6, accuracy.iloc[0])
    model = federation.model
    assert isinstance(model, TorchModule)
    test = federation.data.test
    torch.testing.assert_close(
        model.to_module(result.model)(test.x), federation.logits(result.model, test.x)
    )
    again = pickle.loads(pickle.dumps(federation))
    assert torch.equal(again.logits(result.model, test.x), federation.logits(result.model, test.x))


def linear() -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(5, 3)


def frozen() -> nn.Module:
    module = linear()
    module.bias.requires_grad_(False)
    return module


class Branching(nn.Module):
    """Looks at a value."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = linear()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.inner(x)
        return out if out.sum().item() > 0 else -out


class Noisy(Branching):
    """Draws at random."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x + torch.rand_like(x))


class Mixing(Branching):
    """Centres over the rows of a batch."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x - x.mean(0))


class Cumulative(Mixing):
    """Adds up the rows before: the first is by itself."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x.cumsum(0))


@pytest.mark.parametrize(
    ("module", "reason"),
    [
        (5, "must be a torch.nn.Module; got int"),
        (nn.Sequential(nn.Linear(5, 4), nn.BatchNorm1d(4), nn.Linear(4, 3)), "use GroupNorm"),
        (nn.Flatten(), "a module with parameters"),
        (nn.LazyLinear(3), "pass one batch through the module first"),
        (nn.Linear(5, 3).double(), "must be float32"),
        (frozen(), "parameter 'bias' of the model is frozen"),
        (nn.Linear(4, 3), r"on rows \(5,\)"),
        (nn.Linear(5, 4), r"to logits, float32 \(2, 5, 3\); got float32 \(2, 5, 4\)"),
        (Branching(), "on rows"),
        (Noisy(), "on rows"),
        (Mixing(), "must treat each row by itself"),
        (Cumulative(), "must treat each row by itself"),
    ],
)
def test_what_cannot_be_trained_here_is_refused(module: Any, reason: str) -> None:
    with pytest.raises(InputError, match=reason):
        TorchModule(module, (5,), 3)


def test_dropout_is_switched_off_and_said_to_be() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.Dropout(0.5), nn.Linear(4, 3))
    with pytest.warns(UserWarning, match="dropout does nothing in a federation"):
        model = TorchModule(module, (5,), 3)
    params, x, _, _ = sample(model)
    assert torch.equal(model.logits(params, x), model.logits(params, x))


def test_modules_that_differ_between_hospitals_are_refused() -> None:
    same = [linear(), linear()]
    assert secure_fl.models.shared_module(same) is same[0]
    other = linear()
    with torch.no_grad():
        other.bias += 1
    for modules, reason in (
        ([], "got 'an empty list'"),
        ([linear(), other], "parameter 'bias' of hospital 1's model must equal hospital 0's"),
        ([linear(), nn.Linear(4, 3)], "'weight' of hospital 1's model must be as hospital 0's"),
        ([linear(), 5], "model of hospital 1 must be a module; got int"),
    ):
        with pytest.raises(InputError, match=reason):
            secure_fl.models.shared_module(modules)
