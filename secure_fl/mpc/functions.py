"""Order statistics, norms and bits of CrypTen tensors, for any CrypTen program.

CrypTen has no sort and no median, and its norms lose squares below 2^-16. These functions take and
return `MPCTensor`s, after `crypten.init()`, with any number of parties, either provider and any
communicator. All are exact: order statistics to the last bit, the others up to one floor to the
16 fractional bits that CrypTen keeps.

Values must lie in [-max_abs, max_abs), a promise of the caller: what lies outside is read modulo
the width. A smaller `max_abs` makes order statistics faster, and norms of longer rows possible.

The examples run as two processes: `crypten.mpc.context.run_multiprocess`, or one shell each.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from secure_fl.aggregation.openings import UNIT
from secure_fl.aggregation.ops import FRACTION_BITS, Secret, Updates
from secure_fl.counts import trim_count
from secure_fl.errors import require
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.provider import ProviderRing
from secure_fl.mpc.shared import SharedMatrix, SharedOps
from secure_fl.mpc.words import word_count

crypten = import_crypten()
from crypten.mpc import MPCTensor  # noqa: E402
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor  # noqa: E402

ORDER_MAX_ABS = 2.0**15
NORM_MAX_ABS = 2.0**7


def _bits(max_abs: float) -> int:
    """Width of values in [-max_abs, max_abs) at 16 fractional bits, sign included."""
    require(0 < max_abs <= 2.0**46, "max_abs", "in (0, 2^46]", max_abs)
    return FRACTION_BITS + 1 + max(0, math.ceil(math.log2(max_abs)))


def _share(x: MPCTensor) -> torch.Tensor:
    return x.share


def _tensor(share: np.ndarray, shape: tuple[int, ...]) -> MPCTensor:
    whole = torch.from_numpy(np.ascontiguousarray(share)).reshape(shape)
    return MPCTensor.from_shares(whole, precision=FRACTION_BITS)


class _Rows:
    """x as rows along `dim`, and the way back."""

    def __init__(self, x: MPCTensor, dim: int, max_abs: float) -> None:
        moved = _share(x).movedim(dim, 0)
        self.dim = dim
        self.rest = tuple(moved.shape[1:])
        self.count = moved.shape[0]
        require(moved.numel() > 0, "x", "not empty", tuple(x.shape))
        self.ops = SharedOps(ProviderRing())
        share = moved.reshape(self.count, -1).contiguous().numpy()
        self.matrix = SharedMatrix(share, _bits(max_abs), lifted=True)
        self.updates = Updates(self.matrix, (self.count, share.shape[1]), UNIT)

    def column(self, value: Secret) -> MPCTensor:
        """A value a column, (d,), in the shape of x without `dim`."""
        return _tensor(_at_unit(self.ops, value), self.rest)

    def whole(self, share: np.ndarray) -> MPCTensor:
        """Shares (n, d) in the shape of x."""
        tensor = torch.from_numpy(share).reshape(self.count, *self.rest).movedim(0, self.dim)
        return MPCTensor.from_shares(tensor.contiguous(), precision=FRACTION_BITS)


def _at_unit(ops: SharedOps, value: Secret) -> np.ndarray:
    """Shares of a value at 16 fractional bits: finer ones are floored."""
    ratio = UNIT / value.unit
    if ratio == 1:
        return value.data.share.numpy()
    drop = round(math.log2(ratio))
    return ops.ring.floor_shift(value.data.share.numpy()[None], drop)[0]


def kth_value(x: MPCTensor, k: int, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return the k-th smallest element along `dim`, k from 1 as in `torch.kthvalue`.

    Args:
        x: any shape.   k: from 1 to the size of `dim`.   dim: the axis that disappears.
        max_abs: bound on |x|.

    Raises:
        InputError: k or max_abs is out of range.

    Example:
        >>> x = crypten.cryptensor([[3.0, 1.0], [2.0, 5.0], [9.0, 4.0]])
        >>> kth_value(x, 1).get_plain_text()
        tensor([2., 1.])
    """
    rows = _Rows(x, dim, max_abs)
    require(1 <= k <= rows.count, "k", f"from 1 to {rows.count}", k)
    return rows.column(rows.ops.order_statistics(rows.updates, [k - 1])[0])


def median(x: MPCTensor, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return the median along `dim`; of an even number the mean of the two middle ones, floored.

    Args and errors as in `kth_value`.

    Example:
        >>> median(crypten.cryptensor([3.0, -1.0, 2.0, 40.0])).get_plain_text()
        tensor(2.5000)
    """
    return quantile(x, 0.5, dim, max_abs)


def quantile(x: MPCTensor, q: float, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return the q-quantile along `dim`, interpolated linearly as in `numpy.quantile`.

    Args:
        x, dim, max_abs: as in `kth_value`.   q: public, in [0, 1].

    Raises:
        InputError: q or max_abs is out of range.

    Example:
        >>> quantile(crypten.cryptensor([0.0, 1.0, 2.0, 3.0]), 0.25).get_plain_text()
        tensor(0.7500)
    """
    require(0 <= q <= 1, "q", "in [0, 1]", q)
    rows = _Rows(x, dim, max_abs)
    place = q * (rows.count - 1)
    low = min(math.floor(place), rows.count - 1)
    weight = round((place - low) * 2**FRACTION_BITS) / 2**FRACTION_BITS
    if weight == 0:
        return rows.column(rows.ops.order_statistics(rows.updates, [low])[0])
    below, above = rows.ops.order_statistics(rows.updates, [low, low + 1])
    step = rows.ops.multiply(rows.ops.subtract(above, below), weight)
    return rows.column(rows.ops.add(below, step))


def sort(x: MPCTensor, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return x in ascending order along `dim`. All ranks are selected side by side: n^2 work.

    Args and errors as in `kth_value`.

    Example:
        >>> sort(crypten.cryptensor([3.0, -1.0, 2.0])).get_plain_text()
        tensor([-1.,  2.,  3.])
    """
    rows = _Rows(x, dim, max_abs)
    values = rows.ops.order_statistics(rows.updates, range(rows.count))
    return rows.whole(np.stack([value.data.share.numpy() for value in values]))


def topk_mask(x: MPCTensor, k: int, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return 1 at the k largest elements along `dim`, 0 elsewhere; of ties the last ones.

    Args and errors as in `kth_value`.

    Example:
        >>> topk_mask(crypten.cryptensor([3.0, -1.0, 2.0]), 2).get_plain_text()
        tensor([1., 0., 1.])
    """
    rows = _Rows(x, dim, max_abs)
    require(1 <= k <= rows.count, "k", f"from 1 to {rows.count}", k)
    ring = rows.ops.ring
    planes = rows.ops.planes(rows.matrix)
    (mask,) = ring.run("largest", planes, count=k)
    ones = ring.inject(mask, rows.matrix.share.shape[1])
    return rows.whole(ones << FRACTION_BITS)


def trimmed_mean(
    x: MPCTensor, beta: float, dim: int = 0, max_abs: float = ORDER_MAX_ABS
) -> MPCTensor:
    """Return the mean along `dim` without the floor(beta n) smallest and largest of each column.

    Args:
        x, dim, max_abs: as in `kth_value`.   beta: public, in [0, 0.5).

    Raises:
        InputError: beta or max_abs is out of range.

    Example:
        >>> trimmed_mean(crypten.cryptensor([1.0, 2.0, 4.0, 900.0]), 0.25).get_plain_text()
        tensor(3.)
    """
    require(0 <= beta < 0.5, "beta", "in [0, 0.5)", beta)
    rows = _Rows(x, dim, max_abs)
    trim = trim_count(beta, rows.count)
    kept = rows.ops.where(rows.ops.middle(rows.updates, trim), rows.updates, None)
    left = rows.count - 2 * trim
    total = rows.ops.lifted(kept.data).sum(axis=0)  # (d,)
    # The total fits bits + log2(n); what is left of 62 bits serves the reciprocal.
    room = min(40, 62 - rows.matrix.bits - math.ceil(math.log2(rows.count + 1)))
    scaled = total * np.int64(round(2**room / left))
    ring = rows.ops.ring
    mean = ring.floor_shift(scaled[None], room)
    return _tensor(mean, rows.rest)


def squared_norm(x: MPCTensor, dim: int = 0, max_abs: float = NORM_MAX_ABS) -> MPCTensor:
    """Return the sum of squares along `dim`, added up at 32 fractional bits and floored once.

    Args:
        x: any shape.   dim: the axis that disappears.
        max_abs: bound on |x|; the size d of `dim` must keep d 4^(bits - 1) below 2^61.

    Raises:
        InputError: max_abs is out of range, or too large for so many elements.

    Example:
        >>> squared_norm(crypten.cryptensor([0.001] * 1000)).get_plain_text()
        tensor(0.0010)
    """
    rows = _flat_rows(x, dim, max_abs)
    return rows.column(rows.ops.squared_norms(rows.updates))


def cosine_similarity(
    x: MPCTensor, y: MPCTensor | torch.Tensor, dim: int = 0, max_abs: float = NORM_MAX_ABS
) -> MPCTensor:
    """Return the cosine of each vector along `dim` with one vector y, shared or public.

    Args:
        x: any shape.   y: (d,), d the size of `dim`.   dim, max_abs: as in `squared_norm`.

    Returns:
        In the shape of x without `dim`, in [-1, 1] up to 2^-15; 0 where a vector is 0.

    Raises:
        InputError: y has another size, or max_abs is out of range.

    Example:
        >>> x = crypten.cryptensor([[1.0, 0.0], [1.0, 1.0]])
        >>> cosine_similarity(x, torch.tensor([1.0, 0.0]), dim=1).get_plain_text()
        tensor([1.0000, 0.7071])
    """
    rows = _flat_rows(x, dim, max_abs)
    size = rows.updates.shape[1]
    require(tuple(y.shape) == (size,), "y's shape", f"({size},)", tuple(y.shape))
    if isinstance(y, torch.Tensor):
        return rows.column(rows.ops.cosine(rows.updates, y))
    data = ArithmeticSharedTensor.from_shares(_share(y), precision=0)
    return rows.column(rows.ops.cosine(rows.updates, Secret(rows.ops, data, (size,), UNIT)))


def clip_norm(
    x: MPCTensor, max_norm: float, dim: int = 0, max_abs: float = NORM_MAX_ABS
) -> MPCTensor:
    """Return x with vectors along `dim` that are longer than max_norm scaled down to it.

    Args:
        x: any shape.   max_norm: public, positive.   dim, max_abs: as in `squared_norm`.

    Raises:
        InputError: max_norm or max_abs is out of range.

    Example:
        >>> x = crypten.cryptensor([[3.0, 4.0], [0.3, 0.4]])
        >>> clip_norm(x, 1.0, dim=1).get_plain_text()
        tensor([[0.6000, 0.8000],
                [0.3000, 0.4000]])
    """
    require(max_norm > 0, "max_norm", "positive", max_norm)
    rows = _flat_rows(x, dim, max_abs)
    clipped = rows.ops.clip(rows.updates, max_norm**2, max_norm)
    share = rows.ops.lifted(clipped.data)
    moved = torch.from_numpy(share).reshape(*rows.rest, rows.updates.shape[1]).movedim(-1, dim)
    return MPCTensor.from_shares(moved.contiguous(), precision=FRACTION_BITS)


def _flat_rows(x: MPCTensor, dim: int, max_abs: float) -> _Rows:
    """Vectors along `dim` as rows, one for each index of the other axes."""
    share = _share(x).movedim(dim, -1)
    flat = MPCTensor.from_shares(share.reshape(-1, share.shape[-1]), precision=FRACTION_BITS)
    rows = _Rows(flat, 0, max_abs)
    rows.rest = tuple(share.shape[:-1])
    return rows


def bit_planes(x: MPCTensor, max_abs: float = ORDER_MAX_ABS) -> BinarySharedTensor:
    """Return the bits of x (n, d): words (bits, n, W) in which 64 columns share a word.

    Not an `MPCTensor`, which holds one number an element. Plane j holds bit j of
    x 2^16 + 2^(bits - 1), which is not negative.

    Raises:
        InputError: x is no matrix, or max_abs is out of range.

    Example:
        >>> planes = bit_planes(crypten.cryptensor([[1.0, -2.0]]), max_abs=4.0)
        >>> from_bit_planes(planes, 2).get_plain_text()
        tensor([[ 1., -2.]])
    """
    require(len(x.shape) == 2, "x's shape", "(n, d)", tuple(x.shape))
    rows = _Rows(x, 0, max_abs)
    wires = rows.ops.planes(rows.matrix)
    share = wires.xor_share(rows.ops.ring.leader).view(np.int64)
    return BinarySharedTensor.from_shares(torch.from_numpy(share), precision=0)


def from_bit_planes(planes: BinarySharedTensor, columns: int) -> MPCTensor:
    """Return the matrix (n, columns) whose `bit_planes` these are.

    Raises:
        InputError: planes has no such shape.
    """
    require(len(planes.share.shape) == 3, "planes' shape", "(bits, n, W)", planes.share.shape)
    words = planes.share.numpy().view(np.uint64)
    require(words.shape[2] == word_count(columns), "columns", "what W words hold", columns)
    ring = ProviderRing()
    wires = ring.wires(words)
    total = ring.constant(-(1 << (len(words) - 1)), (words.shape[1], columns))
    for j in range(len(words)):
        total = total + (ring.inject(wires, columns, (j,)) << j)
    return _tensor(total, total.shape)
