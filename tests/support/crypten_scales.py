"""Tasks of `crypten_program.py`: tensors of every scale and sharing, and what is refused."""

from __future__ import annotations

import resource
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from secure_fl.errors import InputError
from secure_fl.mpc.compat import import_crypten

crypten = import_crypten()

from secure_fl.mpc import functions as F  # noqa: E402

SHAPE, AXIS = (4, 3, 2), 1


def scales() -> dict[str, Any]:
    """Results by name: [found, wanted, how far they may lie apart]."""
    results: dict[str, list[Any]] = {}
    alone = crypten.communicator.get().get_world_size() == 1
    for precision in (0, 3, 16, 20, 30) if alone else (0, 20):
        results |= at_precision(precision)
    results |= other_sharings()
    return {
        name: [found, np.asarray(wanted).tolist(), gap]
        for name, (found, wanted, gap) in results.items()
    }


def decoded(result: Any) -> list[Any]:
    """CrypTen's decoder rounds to float32: decode here, at the tensor's own scale."""
    return (result._tensor.reveal().double() / result.encoder.scale).tolist()


def shared(values: np.ndarray, precision: int) -> Any:
    return crypten.cryptensor(torch.tensor(values), src=0, precision=precision)


def at_precision(precision: int) -> dict[str, tuple[Any, Any, float]]:
    """Every function on a cube whose numbers are exact at this precision."""
    rng = np.random.default_rng(precision)
    step = 2.0**-precision
    x = rng.integers(-(2 ** min(precision + 2, 28)), 2 ** min(precision + 2, 28), SHAPE) * step
    y = rng.integers(1, 4, SHAPE[AXIS]).astype(float)
    tensor, other = shared(x, precision), shared(y, 4)
    last = max(2.0**-16 if precision <= 16 else step, 2.0**-40)
    order = np.sort(x, axis=AXIS)
    norms = (x**2).sum(axis=AXIS)
    lengths = np.maximum(np.sqrt(norms), 1e-300)
    cosine = np.moveaxis(x, AXIS, -1) @ y / (lengths * np.linalg.norm(y))
    clipped = x * np.minimum(1, 0.5 / np.expand_dims(lengths, AXIS))
    narrow = {"dim": AXIS, "max_abs": 4.0}
    planes = F.bit_planes(tensor[0], max_abs=4.0)
    fine = max(precision, 16)
    coarse = 0.0 if precision <= 20 else 2.0**-23  # squares leave room for fewer bits
    found: dict[str, tuple[Any, Any, float]] = {
        "median": (F.median(tensor, AXIS), np.median(x, axis=AXIS), 0.0),
        "median -1": (F.median(tensor, -1), np.median(x, axis=-1), last / 2),
        "kth": (F.kth_value(tensor, np.int64(3), AXIS), order.max(axis=AXIS), 0.0),
        "quantile": (F.quantile(tensor, 0.3, AXIS), np.quantile(x, 0.3, axis=AXIS), 2.0**-14),
        "sort": (F.sort(tensor, AXIS), order, 0.0),
        "topk": (F.topk_mask(tensor, 3, AXIS), np.ones_like(x), 0.0),
        "trimmed": (F.trimmed_mean(tensor, 0.34, AXIS), order.take(1, axis=AXIS), 0.0),
        "mean": (F.trimmed_mean(tensor, 0.0, AXIS), x.mean(axis=AXIS), last * 0.51),
        "norm": (F.squared_norm(tensor, **narrow), norms, max(last, coarse)),
        "cosine": (F.cosine_similarity(tensor, other, **narrow), cosine, 2.0**-15),
        "cosine public": (
            F.cosine_similarity(tensor, torch.tensor(y).int(), **narrow),
            cosine,
            2.0**-15,
        ),
        "clip": (F.clip_norm(tensor, 0.5, **narrow), clipped, 2.0**-13),
        "clip nothing": (F.clip_norm(tensor, 1e9, **narrow), x, coarse),
        "planes": (F.from_bit_planes(planes, SHAPE[2], fine), x[0], 0.0),
    }
    return {
        f"{name} at {precision}": (decoded(result), wanted, gap)
        for name, (result, wanted, gap) in found.items()
    }


def other_sharings() -> dict[str, tuple[Any, Any, float]]:
    """What comparisons return, tensors shared as bits, wide ranges."""
    x = shared(np.array([3.0, -1.0, 2.0, 5.0, -4.0]), 16)
    whole = crypten.cryptensor(torch.tensor([3, 1, 2, 9]), ptype=crypten.mpc.binary, src=0)
    wide = shared(np.array([2.0**40 - 1, 3.0, -(2.0**40)]), 16)
    many = shared(np.arange(100.0), 16)
    found = {
        "median of bits": (F.median(x > 0), 1.0, 0.0),
        "mean of bits": (F.trimmed_mean(x > 0, 0.0), 0.6, 2.0**-17),
        "norm of bits": (F.squared_norm(x > 0), 3.0, 0.0),
        "sort of bits": (F.sort(x > 0), [0, 0, 1, 1, 1], 0.0),
        "median of binary": (F.median(whole), 2.5, 0.0),
        "mean of binary": (F.trimmed_mean(x.to(crypten.mpc.binary), 0.0), 1.0, 0.0),
        "wide threes": (F.trimmed_mean(shared(np.full(3, 3.0), 16), 0.0, max_abs=2.0**40), 3, 0),
        "wide mean": (F.trimmed_mean(wide, 0.0, max_abs=2.0**41), 2 / 3, 2.0**-17),
        "wide median": (F.median(wide, max_abs=2.0**46), 3.0, 0.0),
        "29 of 100": (F.trimmed_mean(many.square(), 0.29), 2597 + 1 / 6, 1e-3),
    }
    return {name: (decoded(result), wanted, gap) for name, (result, wanted, gap) in found.items()}


def memory() -> dict[str, float]:
    """The median of a thousand numbers, and by how many MiB that raised the process's peak."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    found = decoded(F.median(shared(np.arange(1000.0) / 8, 16)))
    return {
        "median": found,
        "mib": (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024,
    }


def refusals() -> dict[str, str]:
    """What each call that cannot be right says."""
    x = shared(np.array([1.0, 2.0, 3.0]), 16)
    calls: dict[str, Callable[[], Any]] = {
        "x must be an MPCTensor": lambda: F.median(torch.ones(3)),
        "x's shape must be of at least one axis": lambda: F.median(x.sum()),
        "x must be not empty": lambda: F.median(x[:0]),
        "dim must be from -1 to 0": lambda: F.median(x, dim=1),
        "dim must be a whole number": lambda: F.median(x, dim=0.0),
        "k must be a whole number": lambda: F.kth_value(x, 1.5),
        "k must be from 1 to 3": lambda: F.topk_mask(x, 4),
        "q must be in": lambda: F.quantile(x, float("nan")),
        "beta must be in": lambda: F.trimmed_mean(x, 0.5),
        "max_abs must be at most 2^46": lambda: F.median(x, max_abs=2.0**47),
        "max_abs must be at most 2^43": lambda: F.trimmed_mean(x, 0.0, max_abs=2.0**44),
        "max_abs must be at most 2^31": lambda: F.quantile(x, 0.3, max_abs=2.0**32),
        "max_abs must be a positive number": lambda: F.sort(x, max_abs=float("inf")),
        "d must be at most": lambda: F.squared_norm(x, max_abs=2.0**20),
        "max_norm must be finite, and at least": lambda: F.clip_norm(x, 1e-6),
        "y's shape must be": lambda: F.cosine_similarity(x, torch.ones(2)),
        "y must be an MPCTensor": lambda: F.cosine_similarity(x, [1.0, 2.0, 3.0]),
        "y's type must be real": lambda: F.cosine_similarity(x, torch.ones(3) * 1j),
        "reference must be finite": lambda: F.cosine_similarity(x, torch.full((3,), torch.inf)),
        "planes must be a BinarySharedTensor": lambda: F.from_bit_planes(x, 3),
    }
    said = {}
    for rule, call in calls.items():
        try:
            call()
        except InputError as error:
            said[rule] = str(error)
        else:
            said[rule] = "nothing"
    return said
