"""A model tried on made-up rows before it is trained."""

from __future__ import annotations

import torch

from secure_fl.errors import InputError
from secure_fl.models.model import Model

# Logits of a row may differ by so much with other rows beside it, by rounding.
_APART = 1e-3
_NETWORKS, _ROWS = 2, 5


def probe(model: Model, place: str) -> None:
    """Try a model on made-up rows of two networks, together and each by itself.

    Args:
        model: the network.
        place: what an error calls it.

    Raises:
        InputError: it fails in any way, has other parameters, logits or gradients than it says, or
            mixes rows or networks.
    """
    try:
        rng = torch.Generator().manual_seed(0)
        shape = (_NETWORKS, _ROWS, *model.feature_shape)
        x = torch.rand(shape, generator=rng, dtype=torch.float32)
        start = model.init(rng)
        _check(start, (model.num_parameters,), f"{place} must start with", "parameters")
        noise = torch.randn((_NETWORKS, len(start)), generator=rng, dtype=torch.float32)
        params = start + 0.01 * noise
        logits = model.logits(params, x)
        wanted = (_NETWORKS, _ROWS, model.classes)
        _check(
            logits, wanted, f"{place} must map {_ROWS} rows of {_NETWORKS} networks to", "logits"
        )
        rows = [model.logits(params, x[:, [row]]) for row in range(_ROWS)]
        networks = [model.logits(params[[i]], x[[i]]) for i in range(_NETWORKS)]
        y = torch.zeros(_NETWORKS, _ROWS, dtype=torch.int64)
        gradients = model.gradients(params, x, y, torch.ones(_NETWORKS, _ROWS))
        _check(gradients, tuple(params.shape), f"{place} must give", "gradients")
    except InputError:
        raise
    except Exception as error:  # of somebody's own code, whatever it raises
        told = f"{type(error).__name__}: {error}"
        found = getattr(model, "feature_shape", "without feature_shape")
        raise InputError(f"{place} on rows {found}: {told}") from error
    if not _close(torch.cat(rows, dim=1), logits):
        raise InputError(
            f"{place} must treat each row by itself: hospitals' batches are padded with "
            "rows that do not count; use GroupNorm or LayerNorm in place of batch norm"
        )
    if not _close(torch.cat(networks), logits):
        raise InputError(f"{place} must treat each network by itself: a hospital's is one of them")


def _close(found: torch.Tensor, due: torch.Tensor) -> bool:
    return torch.allclose(found, due, rtol=_APART, atol=_APART)


def _check(found: object, shape: tuple[int, ...], must: str, what: str) -> None:
    """Hold a tensor to float32, a shape and finite values.

    Raises:
        InputError: it is another.
    """
    if not isinstance(found, torch.Tensor):
        raise InputError(f"{must} {what}, float32 {shape}; got {type(found).__name__}")
    kind = str(found.dtype).removeprefix("torch.")
    if tuple(found.shape) != shape or found.dtype != torch.float32:
        raise InputError(f"{must} {what}, float32 {shape}; got {kind} {tuple(found.shape)}")
    if not bool(found.isfinite().all()):
        raise InputError(f"{must} {what} that are finite; got NaN or infinity")
