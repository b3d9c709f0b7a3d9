"""A model tried on made-up rows before it is trained."""

from __future__ import annotations

import torch

from secure_fl.errors import InputError
from secure_fl.models.model import Model

# Logits of a row may differ by so much with other rows beside it, by rounding.
_APART = 1e-3
# Of a model of one's own that has no such part, rows that do not fit, and the like.
_BROKEN = (RuntimeError, ValueError, TypeError, LookupError, AttributeError)


def probe(model: Model, place: str) -> None:
    """Try a model on made-up rows of two networks.

    Args:
        model: the network.
        place: what an error calls it.

    Raises:
        InputError: it fails, gives other parameters or logits than it says, or mixes rows.
    """
    rng = torch.Generator().manual_seed(0)
    try:
        x = torch.rand(2, 3, *model.feature_shape, generator=rng, dtype=torch.float32)
        start = model.init(rng)
        _check_parameters(model, start, place)
        params = start.repeat(2, 1)
        logits = model.logits(params, x)
        alone = model.logits(params, x[:, :1])
    except _BROKEN as error:
        shape = getattr(model, "feature_shape", "without feature_shape")
        told = f"{type(error).__name__}: {error}"
        raise InputError(f"{place} on rows {shape}: {told}") from error
    _check_logits(model, logits, place)
    if not torch.allclose(alone, logits[:, :1], rtol=_APART, atol=_APART):
        raise InputError(
            f"{place} must treat each row by itself: hospitals' batches are padded with "
            "rows that do not count; use GroupNorm or LayerNorm in place of batch norm"
        )
    try:
        model.gradients(params, x, torch.zeros(2, 3, dtype=torch.int64), torch.ones(2, 3))
    except RuntimeError as error:
        raise InputError(f"{place} cannot be differentiated: {error}") from error


def _check_parameters(model: Model, start: torch.Tensor, place: str) -> None:
    if tuple(start.shape) != (model.num_parameters,) or start.dtype != torch.float32:
        raise InputError(
            f"{place} must start with float32 parameters of shape ({model.num_parameters},); got "
            f"{str(start.dtype).removeprefix('torch.')} of shape {tuple(start.shape)}"
        )


def _check_logits(model: Model, logits: object, place: str) -> None:
    if isinstance(logits, torch.Tensor) and tuple(logits.shape) == (2, 3, model.classes):
        return
    got = tuple(logits.shape[1:]) if isinstance(logits, torch.Tensor) else type(logits)
    raise InputError(f"{place} must map 3 rows to logits (3, {model.classes}); got {got}")
