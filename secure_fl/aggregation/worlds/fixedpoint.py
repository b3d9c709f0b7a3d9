"""Fixed-point arithmetic in Z_2^64, shared by the `fixed` and `mpc` backends.

Everything here is integer arithmetic modulo 2^64 on an abstract ring: `fixed` implements the ring
in the clear, `mpc` on shares. No operation rounds at random: division by a power of two is an
exact floor. Both backends therefore agree to the last bit, always.

Range conditions are stated where they arise, in units of the integers. Two rules cover most:
a squared norm must stay below 2^62, and so, by Cauchy and Schwarz, must every inner product.
"""

from __future__ import annotations

import math

import torch

from secure_fl.aggregation.openings import Permit
from secure_fl.aggregation.ops import FRACTION_BITS, Secret
from secure_fl.aggregation.worlds.cosines import FixedCosines


def encode(x: torch.Tensor) -> torch.Tensor:
    """Return round(x * 2^16) as int64, ties to even; x is finite and below 2^46 in magnitude."""
    return torch.round(x.to(torch.float64) * 2**FRACTION_BITS).to(torch.int64)


class FixedPoint(FixedCosines):
    """`Ops` over integers modulo 2^64, in the clear or shared."""

    def _reveal(self, secret: Secret, permit: Permit) -> torch.Tensor:
        unit = permit.opening.unit
        if secret.is_bit or unit is None:
            return self.ring.open_bits(secret.data, secret.shape, permit)
        data, step = secret.data, secret.step or secret.unit
        if step < unit:
            data = self.ring.round_down(data, math.ceil(math.log2(unit / step)))
        return self.ring.open_numbers(data, permit).to(torch.float64) * secret.unit
