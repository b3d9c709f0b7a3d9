"""CrypTen tensors as rows that `SharedOps` works on, and back; what does not fit is refused.

CrypTen keeps a number as an integer and a scale of its encoder: 2^16 by default, 1 for what a
comparison returns, whatever `precision` says otherwise. Here every tensor is read at 16 fractional
bits, or at its own where it has more, and results are returned so.
"""

from __future__ import annotations

import math
from numbers import Real

import numpy as np
import torch

from secure_fl.aggregation.ops import FRACTION_BITS, Secret, Updates
from secure_fl.errors import InputError, require
from secure_fl.inputs import whole_number
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.provider import ProviderRing
from secure_fl.mpc.shared import SharedOps
from secure_fl.mpc.shared_matrix import SharedMatrix

crypten = import_crypten()
from crypten.mpc import MPCTensor  # noqa: E402
from crypten.mpc import ptype as Ptype  # noqa: E402

WIDEST = 63
"""Bits of a value, sign included, so that the difference of two values fits the ring."""


def fraction_bits(x: MPCTensor, name: str = "x") -> int:
    """Return the fractional bits that a CrypTen tensor has.

    Raises:
        InputError: it is no CrypTen tensor, or its scale is no power of two.
    """
    if not isinstance(x, MPCTensor):
        raise InputError(f"{name} must be an MPCTensor; got {type(x).__name__}")
    scale = int(x._tensor.encoder.scale)
    require(scale >= 1 and scale & (scale - 1) == 0, f"{name}'s scale", "a power of two", scale)
    return scale.bit_length() - 1


def share_at(x: MPCTensor, precision: int) -> torch.Tensor:
    """Return this party's arithmetic share of x at `precision` fractional bits; finer ones floored.

    Tensors shared as bits are turned to arithmetic first, by CrypTen.
    """
    own = fraction_bits(x)
    if x.ptype == Ptype.binary:
        x = x.to(Ptype.arithmetic, precision=own)
    if own <= precision:
        return x.share << (precision - own)
    flat = x.share.reshape(1, -1).contiguous().numpy()
    floored = ProviderRing().floor_shift(flat, own - precision)
    return torch.from_numpy(floored).reshape(x.share.shape)


def axis(x: MPCTensor, dim: int) -> int:
    """Return `dim` counted from 0.

    Raises:
        InputError: x has no axis, no element, or none of that number.
    """
    axes = len(x.shape)
    require(axes > 0, "x's shape", "of at least one axis", tuple(x.shape))
    require(0 not in x.shape, "x", "not empty", tuple(x.shape))
    number = whole_number(dim, "dim")
    require(-axes <= number < axes, "dim", f"from {-axes} to {axes - 1}", dim)
    return number % axes


def width(max_abs: float, precision: int, widest: int = WIDEST) -> int:
    """Return the bits of values in [-max_abs, max_abs), sign included.

    Raises:
        InputError: max_abs is no positive number, or takes more than `widest` bits.
    """
    number = isinstance(max_abs, Real) and not isinstance(max_abs, bool)
    require(number and 0 < max_abs < math.inf, "max_abs", "a positive number", max_abs)
    most = widest - 1 - precision
    rule = f"at most 2^{most} for this function and {precision} fractional bits"
    require(math.log2(max_abs) <= most, "max_abs", rule, max_abs)
    return precision + 1 + max(0, math.ceil(math.log2(max_abs)))


class Rows:
    """x as rows (n, d) along an axis, and the way back.

    Args:
        x: an `MPCTensor` of any scale and sharing, any shape but the empty ones.
        dim: the axis that becomes the rows.
        max_abs: bound on |x|.
        widest: bits that the function allows a value to have.
        precision: fractional bits to read x at, if not its own or 16.

    Attributes:
        precision: fractional bits of the rows.   count: n.   rest: x's shape without `dim`.
        ops, matrix, updates: what functions compute with.
    """

    def __init__(
        self,
        x: MPCTensor,
        dim: int,
        max_abs: float,
        widest: int = WIDEST,
        precision: int = FRACTION_BITS,
    ) -> None:
        self.precision = max(precision, fraction_bits(x))
        self.dim = axis(x, dim)
        bits = width(max_abs, self.precision, widest)
        moved = share_at(x, self.precision).movedim(self.dim, 0)
        self.rest = tuple(moved.shape[1:])
        self.count = moved.shape[0]
        self._build(moved.reshape(self.count, -1), bits)

    def _build(self, share: torch.Tensor, bits: int) -> None:
        self.ops = SharedOps(ProviderRing())
        self.matrix = SharedMatrix(share.contiguous().numpy(), bits, lifted=True)
        shape = (share.shape[0], share.shape[1])
        self.updates = Updates(self.matrix, shape, 2.0**-self.precision)

    def tensor(self, share: np.ndarray, shape: tuple[int, ...]) -> MPCTensor:
        """Return shares at the rows' precision as a tensor of some shape."""
        whole = torch.from_numpy(np.ascontiguousarray(share)).reshape(shape)
        return MPCTensor.from_shares(whole, precision=self.precision)

    def column(self, value: Secret) -> MPCTensor:
        """Return a value a column, (d,), in the shape of x without `dim`; finer ones floored."""
        share = value.data.share.numpy()
        drop = round(-math.log2(value.unit)) - self.precision
        if drop > 0:
            share = self.ops.ring.protocols.floor_shift(share[None], drop)[0]
        return self.tensor(share << max(0, -drop), self.rest)

    def whole(self, share: np.ndarray) -> MPCTensor:
        """Return shares (n, d) in the shape of x."""
        tensor = torch.from_numpy(share).reshape(self.count, *self.rest).movedim(0, self.dim)
        return MPCTensor.from_shares(tensor.contiguous(), precision=self.precision)


class Vectors(Rows):
    """The vectors along an axis of x as rows, one for each index of the other axes.

    They are read at fewer fractional bits, down to 16, where their squared norms would not fit.
    """

    def __init__(self, x: MPCTensor, dim: int, max_abs: float, precision: int = FRACTION_BITS):
        precision = max(precision, fraction_bits(x))
        self.dim = axis(x, dim)
        whole = width(max_abs, 0) - 1  # bits before the point
        room = math.floor((61 - math.log2(x.shape[self.dim])) / 2)
        self.precision = max(FRACTION_BITS, min(precision, room - whole))
        bits = width(max_abs, self.precision)
        moved = share_at(x, self.precision).movedim(self.dim, -1)
        self.rest = tuple(moved.shape[:-1])
        self.count = math.prod(self.rest)
        self._build(moved.reshape(self.count, -1), bits)

    def whole(self, share: np.ndarray) -> MPCTensor:
        """Return shares (count, d) in the shape of x."""
        tensor = torch.from_numpy(share).reshape(*self.rest, -1).movedim(-1, self.dim)
        return MPCTensor.from_shares(tensor.contiguous(), precision=self.precision)
