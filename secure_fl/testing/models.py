"""Checks of a model."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import torch
import torch.nn.functional as F

from secure_fl.extensions import Extensions
from secure_fl.models.model import Model, Shape
from secure_fl.models.registry import build
from secure_fl.testing.insist import insist

HOSPITALS, ROWS, CLOSE = 3, 5, 1e-4


def check_model(
    builder: Callable[..., Any],
    feature_shape: Shape = (6,),
    classes: int = 3,
    params: Mapping[str, Any] | None = None,
) -> None:
    """Hold a model to what training needs of it.

    It is built alike at every call, with finite parameters; it gives a logit a class for each row,
    whatever rows and networks stand beside it; gradients are those of the weighted cross-entropy of
    these logits; and inputs stay as they are.

    Args:
        builder: a function or a class marked @model.
        feature_shape: of one row.
        classes: number of classes.
        params: parameters of its own.

    Raises:
        AssertionError: the message says which rule was broken.
        InputError, ConfigError: a parameter that it does not take, or a module that cannot be
            trained in one batch (`secure_fl.models.torch_module`).
    """
    model, again = (_built(builder, feature_shape, classes, params) for _ in range(2))
    start = model.init(torch.Generator().manual_seed(0))
    insist(start.shape == (model.num_parameters,), f"init gives shape {tuple(start.shape)}")
    insist(start.dtype == torch.float32, f"init gives {start.dtype} in place of float32")
    insist(start.isfinite().all(), "an initial parameter is not finite")
    same = torch.equal(start, again.init(torch.Generator().manual_seed(0)))
    insist(same, "built again it starts with other parameters: seed them")
    rng = torch.Generator().manual_seed(1)
    moved = start + 0.1 * torch.randn(HOSPITALS, len(start), generator=rng)
    x = torch.rand(HOSPITALS, ROWS, *feature_shape, generator=rng)
    y = torch.randint(classes, (HOSPITALS, ROWS), generator=rng)
    weight = torch.rand(HOSPITALS, ROWS, generator=rng)
    before = moved.clone(), x.clone()
    out = model.logits(moved, x)
    shape = (HOSPITALS, ROWS, classes)
    insist(out.shape == shape, f"logits have shape {tuple(out.shape)} in place of {shape}")
    insist(out.isfinite().all(), "a logit is not finite")
    alone = torch.stack(
        [
            torch.cat([model.logits(p[None], row[None, None])[0] for row in rows])
            for p, rows in zip(moved, x, strict=True)
        ]
    )
    close = torch.allclose(out, alone, atol=CLOSE)
    insist(close, "a row's logits depend on the rows or networks beside it")
    found = model.gradients(moved, x, y, weight)
    expected = _gradients(model, moved, x, y, weight)
    close = found.shape == moved.shape and torch.allclose(found, expected, atol=CLOSE)
    insist(close, "gradients are not those of the weighted cross-entropy of the logits")
    untouched = torch.equal(before[0], moved) and torch.equal(before[1], x)
    insist(untouched, "parameters or rows are changed in place")


def _built(
    builder: Callable[..., Any], shape: Shape, classes: int, params: Mapping[str, Any] | None
) -> Model:
    name = f"{builder.__module__}:{builder.__name__}"
    return build(name, shape, classes, params, Extensions({name: builder}))


def _gradients(
    model: Model, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
) -> torch.Tensor:
    leaf = params.clone().requires_grad_()
    losses = F.cross_entropy(model.logits(leaf, x).flatten(0, 1), y.flatten(), reduction="none")
    (gradient,) = torch.autograd.grad((losses * weight.flatten()).sum(), leaf)
    return gradient
