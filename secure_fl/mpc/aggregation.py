"""Robust rules on CrypTen tensors: what `secure_fl.mpc.functions.aggregate` does."""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import torch

from secure_fl.aggregation import build_rule
from secure_fl.aggregation.ops import FRACTION_BITS, Secret, Updates
from secure_fl.aggregation.running import combined
from secure_fl.aggregation.surroundings import Surroundings
from secure_fl.errors import require
from secure_fl.inputs import as_vector, whole_number
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.division import nearest
from secure_fl.mpc.provider import ProviderRing
from secure_fl.mpc.ring import Ring
from secure_fl.mpc.shared import SharedOps
from secure_fl.mpc.shared_matrix import SharedMatrix
from secure_fl.mpc.tensors import fraction_bits, share_at

crypten = import_crypten()
from crypten.mpc import MPCTensor  # noqa: E402


class Aggregated(NamedTuple):
    """What a rule made of shared updates.

    Attributes:
        update: shared (d,), 16 fractional bits; 0 where nothing was combined.
        accepted: shared (n,), 1 for whom the rule did not reject, else 0.
        opened: what the rule opened, by name: bits or numbers, as its stages declare.
        states: of its stages, for the next round.
    """

    update: MPCTensor
    accepted: MPCTensor
    opened: dict[str, torch.Tensor]
    states: tuple[Any, ...]


def aggregate(
    x: MPCTensor,
    rule: Any,
    *,
    reputation: Any = None,
    samples: Any = None,
    reference: Any = None,
    model: Any = None,
    last: Any = None,
    number: int = 1,
    seed: bytes | None = None,
    states: tuple[Any, ...] | None = None,
    minimum: int = 1,
) -> Aggregated:
    """Combine shared updates with a robust rule; every party calls it with the same arguments.

    Nothing is opened but what the rule's stages declare: a screen opens its flags to all parties,
    and says so (`build_rule(rule).opens`, without its last, the update, which stays shared here).
    The bits are those of `secure_fl.aggregate(..., backend="fixed")`, whose update is rounded to
    the nearest step of 2^-16 where it is divided in public.

    Args:
        x: (n, d), an update a row, read at 16 fractional bits, finer ones floored. Values must lie
            in the rule's range (`max_abs`), a promise of the caller; for rules of any range, below
            2^20.
        rule: a rule's name, or a pipeline, as `secure_fl.aggregation.build_rule` takes it.
        reputation, samples: float (n,), public, for rules that weigh by them; default all ones.
        reference, model, last: float (d,), public, for rules that want a root direction, the global
            model, or the aggregate of the round before.
        number: of the round, from 1.
        seed: 32 public bytes, for rules that draw groups, places or noise: fix it only once nobody
            can change an update any more. Zeros by default, for rules that draw nothing.
        states: what the call of the round before returned, for rules with a memory.
        minimum: with fewer updates in play nothing is combined.

    Raises:
        InputError: x is no shared matrix, or an argument does not fit it or the rule.

    Example:
        >>> x = crypten.cryptensor([[1.0, -2.0], [2.0, 0.5], [900.0, 1.0]])
        >>> aggregate(x, "median", minimum=2).update.get_plain_text()
        tensor([2.0000, 0.5000])
    """
    fraction_bits(x)  # refuses what is no CrypTen tensor
    require(len(x.shape) == 2 and 0 not in x.shape, "x's shape", "(n, d)", tuple(x.shape))
    n, d = x.shape
    pipeline = build_rule(rule)
    pipeline.check_hospitals(n)
    require(minimum >= 1, "minimum", "at least 1", minimum)
    require(seed is None or len(seed) == 32, "seed", "32 bytes", seed)
    public = {"reference": reference, "model": model, "last": last}
    given = {what: _vector(value, d, what) for what, value in public.items() if value is not None}
    ops = SharedOps(ProviderRing())
    share = share_at(x, FRACTION_BITS).contiguous().numpy()
    matrix = SharedMatrix(share, pipeline.bits, lifted=True)
    around = Surroundings(
        whole_number(number, "number"), seed or bytes(32), given.get("last"), given.get("model")
    )
    update, accepted, following = combined(
        pipeline,
        pipeline.init() if states is None else states,
        ops,
        Updates(matrix, (n, d), 2.0**-FRACTION_BITS),
        range(n),
        _vector(reputation, n, "reputation"),
        _vector(samples, n, "samples"),
        d,
        given.get("reference"),
        minimum,
        around,
    )
    ring = ops.ring.protocols
    flags = ring.constant(accepted.numpy().astype(np.int64) << FRACTION_BITS)
    zero = np.zeros(d, np.int64)
    values = zero if update is None else _at_16_bits(ring, update)
    return Aggregated(_tensor(values), _tensor(flags), ops.values, following)


def _vector(value: Any, size: int, name: str) -> torch.Tensor:
    """A public vector, float64 (size,); ones for None."""
    if value is None:
        return torch.ones(size, dtype=torch.float64)
    vector = as_vector(value, size, name)
    require(bool(vector.isfinite().all()), name, "finite", "NaN or infinity")
    return vector


def _tensor(share: np.ndarray) -> MPCTensor:
    whole = torch.from_numpy(np.ascontiguousarray(share))
    return MPCTensor.from_shares(whole, precision=FRACTION_BITS)


def _at_16_bits(ring: Ring, update: Secret) -> np.ndarray:
    """Shares (d,) in steps of 2^-16: rounded down as on opening, then divided by a public count."""
    share, step = update.data.share.numpy(), update.step or update.unit
    drop = -FRACTION_BITS - round(math.log2(step))
    if drop > 0:
        share = ring.floor_shift(share[None], drop)[0]
    count = round(step / update.unit)
    size = math.ceil(update.span.size * count * 2.0**FRACTION_BITS) + 1
    return nearest(ring, share << max(0, -drop), min(size, 2**61), count)
