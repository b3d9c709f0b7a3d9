"""The fixed backend: the integers of the MPC backend, computed in the clear.

It exists so that MPC can be tested to the last bit. Ring elements are int64 tensors, whose
arithmetic wraps modulo 2^64 as the shares' does.
"""

from __future__ import annotations

import torch

from secure_fl.aggregation.openings import UNIT
from secure_fl.aggregation.ops import Updates
from secure_fl.aggregation.worlds.clear_ring import ClearMatrix, ClearRing
from secure_fl.aggregation.worlds.fixedpoint import FixedPoint, encode


def wrap(x: torch.Tensor, bits: int) -> Updates:
    """Encode float updates (m, d), reduced to `bits` bits as a node would read them."""
    return wrap_integers(encode(x), bits)


def wrap_integers(values: torch.Tensor, bits: int) -> Updates:
    """Encoded updates, int64 (m, d), reduced to `bits` bits as a node would read them."""
    if bits < 64:
        half = 1 << (bits - 1)
        values = torch.remainder(values + half, 1 << bits) - half
    return Updates(ClearMatrix(values, bits), (values.shape[0], values.shape[1]), UNIT)


class ClearOps(FixedPoint):
    """`FixedPoint` on int64 tensors."""

    def __init__(self) -> None:
        super().__init__(ClearRing())
