"""Chameleon's two stages, by loops and by differences of the loss."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import attacks
from attacks.chameleon import contrastive
from attacks.samples import sample_rows, sample_view
from secure_fl.errors import InputError
from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.torch_module import TorchModule


def by_loops(hidden: np.ndarray, y: list[int], temperature: float) -> float:
    z = hidden / np.linalg.norm(hidden, axis=1, keepdims=True)
    found = []
    for i in range(len(y)):
        below = sum(math.exp(z[i] @ z[a] / temperature) for a in range(len(y)) if a != i)
        terms = [
            math.log(math.exp(z[i] @ z[p] / temperature) / below)
            for p in range(len(y))
            if p != i and y[p] == y[i]
        ]
        if terms:
            found.append(-sum(terms) / len(terms))
    return sum(found) / len(found)


def test_the_contrastive_loss_is_that_of_loops():
    rng = np.random.default_rng(0)
    hidden, y = rng.random((2, 6, 4)), [0, 1, 1, 0, 2, 1]  # class 2 has no pair
    found = contrastive(torch.from_numpy(hidden), torch.tensor(y), 0.3)
    assert found.tolist() == pytest.approx([by_loops(each, y, 0.3) for each in hidden])


@pytest.mark.parametrize(
    "model", [MLP((6,), 3, [5, 4]), CNN((1, 8, 8), 3, (2, 2), 4)], ids=["mlp", "cnn"]
)
def test_hidden_activations_lead_to_the_logits(model):
    rng = torch.Generator().manual_seed(1)
    params = torch.stack([model.init(rng), model.init(rng)])
    x = torch.rand(2, 7, *model.feature_shape, generator=rng)
    hidden, tensors = model.hidden(params, x), model.split(params)
    logits = hidden @ tensors[-2] + tensors[-1].unsqueeze(1)
    torch.testing.assert_close(logits, model.logits(params, x))


def test_the_encoder_moves_first_and_the_output_after_it():
    attack = attacks.load("chameleon", {"columns": [0], "adapt_steps": 2, "batch": 16})
    model = MLP((6,), 2, [4])
    rows = (sample_rows((6,)), sample_rows((6,), seed=1))
    view = replace(
        sample_view(5, 2, 30, attack=attack), rows=rows, facts={"network": lambda: model}, step=1
    )
    start = model.init(torch.Generator().manual_seed(0))
    params = start + torch.randn(3, len(start), generator=torch.Generator().manual_seed(1)) / 9
    given = torch.ones_like(params)
    found = attack.constrain(params, given, start, view)
    assert (found[:, -10:] == 0).all()  # 4 x 2 weights and 2 biases
    x, y = attack.drawn(view, 1)
    assert (x[:, 0] == 1).sum() >= round(0.3 * 16)
    assert (y[x[:, 0] == 1] == 1).all()

    def loss(point: torch.Tensor) -> float:
        hidden = model.hidden(point.unsqueeze(0), x.unsqueeze(0))[0].numpy().astype(float)
        kept = hidden + (np.linalg.norm(hidden, axis=1, keepdims=True) == 0) * 1e-12
        return by_loops(kept, y.tolist(), 0.1)

    for coordinate in (0, 9, 25):
        step = torch.zeros_like(start)
        step[coordinate] = 1e-3
        slope = (loss(params[2] + step) - loss(params[2] - step)) / 2e-3
        assert float(found[2, coordinate]) == pytest.approx(slope, rel=0.05, abs=5e-3)
    later = attack.constrain(params, given, start, replace(view, step=2))
    assert later.sum(dim=1).tolist() == [10.0] * 3
    assert (later[:, :-10] == 0).all()


def test_a_module_of_ones_own_is_refused():
    module = TorchModule(torch.nn.Linear(6, 2), (6,), 2)
    with pytest.raises(InputError, match="must be mlp or cnn"):
        module.hidden(torch.zeros(1, 14), torch.zeros(1, 3, 6))
