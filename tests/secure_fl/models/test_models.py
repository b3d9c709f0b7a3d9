"""Batched networks against torch.nn modules, one at a time."""

from itertools import pairwise

import pytest
import torch
from torch import nn

from secure_fl import models
from secure_fl.errors import InputError
from secure_fl.models import CNN, MLP, Model

CASES = [MLP((7,), 2), MLP((5,), 3, hidden=(4,)), MLP((1, 4, 4), 2), CNN((1, 8, 12), 2)]


def as_module(model: Model, params: torch.Tensor) -> nn.Module:
    """The same network out of torch.nn, its weights copied from the flat vector (d,)."""
    if isinstance(model, CNN):
        (c1, depth, *_), (c2, *_) = model.shapes[0], model.shapes[2]
        flat, hidden = model.shapes[4]
        module = nn.Sequential(
            *(nn.Conv2d(depth, c1, 3, 2, 1), nn.ReLU(), nn.Conv2d(c1, c2, 3, 2, 1), nn.ReLU()),
            *(nn.Flatten(), nn.Linear(flat, hidden), nn.ReLU(), nn.Linear(hidden, model.classes)),
        )
    else:
        widths = [model.shapes[0][0], *(s[0] for s in model.shapes[1::2])]
        layers: list[nn.Module] = [nn.Flatten()]
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        module = nn.Sequential(*layers[:-1])
    tensors = [t[0] for t in model.split(params.unsqueeze(0))]
    with torch.no_grad():
        for own, given in zip(module.parameters(), tensors, strict=True):
            own.copy_(given.T if given.dim() == 2 else given)
    return module


def sample(model: Model, n: int = 3, batch: int = 6):
    rng = torch.Generator().manual_seed(0)
    params = torch.stack([model.init(rng) for _ in range(n)])
    x = torch.rand(n, batch, *model.feature_shape, generator=rng)
    y = torch.randint(model.classes, (n, batch), generator=rng)
    return params, x, y, torch.rand(n, batch, generator=rng)


@pytest.mark.parametrize("model", CASES)
def test_logits_equal_one_module_at_a_time(model):
    params, x, _, _ = sample(model)
    want = torch.stack([as_module(model, p)(rows) for p, rows in zip(params, x, strict=True)])
    torch.testing.assert_close(model.logits(params, x), want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("model", CASES)
def test_gradients_equal_one_module_at_a_time(model):
    params, x, y, weight = sample(model)
    got = model.split(model.gradients(params, x, y, weight))
    for i, row in enumerate(params):
        module = as_module(model, row)
        losses = nn.functional.cross_entropy(module(x[i]), y[i], reduction="none")
        (losses * weight[i]).sum().backward()
        for mine, own in zip(got, module.parameters(), strict=True):
            want = own.grad.T if own.dim() == 2 else own.grad
            torch.testing.assert_close(mine[i], want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("model", CASES)
def test_several_labels_are_as_many_questions(model):
    params, x, _, weight = sample(model)
    y = torch.randint(2, (*x.shape[:2], model.classes), generator=torch.Generator().manual_seed(1))
    got = model.split(model.gradients(params, x, y, weight))
    for i, row in enumerate(params):
        module = as_module(model, row)
        each = nn.BCEWithLogitsLoss(reduction="none")(module(x[i]), y[i].float()).mean(dim=1)
        (each * weight[i]).sum().backward()
        for mine, own in zip(got, module.parameters(), strict=True):
            want = own.grad.T if own.dim() == 2 else own.grad
            torch.testing.assert_close(mine[i], want, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("model", CASES)
def test_padding_has_no_gradient(model):
    params, x, y, _ = sample(model)
    weight = torch.zeros(x.shape[:2])
    assert model.gradients(params, x, y, weight).abs().max() == 0


def test_sizes_of_the_papers_mlp():
    assert MLP((58,), 2).num_parameters == 5922
    assert CASES[0].init(torch.Generator().manual_seed(0)).shape == (CASES[0].num_parameters,)


def test_init_is_seeded_and_bounded_by_fan_in():
    model = MLP((100,), 2)
    one, two = (model.init(torch.Generator().manual_seed(3)) for _ in range(2))
    assert torch.equal(one, two)
    first = model.split(one.unsqueeze(0))[0]
    assert 0.09 < first.abs().max() <= 0.1


def test_predict_is_softmax_in_pieces():
    model = MLP((4,), 3)
    params = model.init(torch.Generator().manual_seed(0))
    x = torch.rand(11, 4, generator=torch.Generator().manual_seed(1))
    want = model.logits(params[None], x[None])[0].softmax(-1)
    torch.testing.assert_close(models.predict(model, params, x, batch=3), want)


def test_registry():
    assert models.names() == ["cnn", "mlp"]
    assert all(models.describe(name) for name in models.names())
    assert models.build("mlp", (3,), 2, {"hidden": (5,)}).num_parameters == 3 * 5 + 5 + 10 + 2


@pytest.mark.parametrize(
    ("name", "shape", "classes", "params", "message"),
    [
        ("mpl", (3,), 2, {}, "model must be one of cnn, mlp; got 'mpl'"),
        ("mlp", (3,), 2, {"hiden": 3}, "parameter of mlp must be one of hidden; got 'hiden'"),
        ("mlp", (3,), 2, {"hidden": (0,)}, "hidden must be widths >= 1"),
        ("mlp", (3,), 1, {}, "classes must be >= 2"),
        ("cnn", (30,), 2, {}, "feature_shape must be"),
        ("cnn", (1, 30, 32), 2, {}, "divisible by 4"),
        ("cnn", (1, 32, 32), 2, {"channels": (8,)}, "channels must be two"),
    ],
)
def test_refusals(name, shape, classes, params, message):
    with pytest.raises(InputError, match=message):
        models.build(name, shape, classes, params)
