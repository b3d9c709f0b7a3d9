"""Order statistics, norms and bits of CrypTen tensors, for any CrypTen program.

CrypTen has no sort and no median, and its norms lose squares below 2^-16. These functions take and
return `MPCTensor`s, after `crypten.init()`, with any number of parties, one included, either
provider and any communicator; of any scale (`precision`), and shared as numbers or as bits.
Results have 16 fractional bits, or as many as x where it has more (in norms and cosines: as many
as its squares leave room for). Order statistics are exact,
other results up to one step of the last bit, but for `clip_norm`, which says what it rounds.

Values must lie in [-max_abs, max_abs), a promise of the caller: what lies outside is read modulo
the width. A smaller `max_abs` makes order statistics faster, and norms of longer rows possible.
Arguments that cannot give the right value raise `InputError`.

The examples run as two processes: `crypten.mpc.context.run_multiprocess`, or one shell each.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import torch

from secure_fl.aggregation.ops import FRACTION_BITS, Secret
from secure_fl.counts import trim_count
from secure_fl.errors import require
from secure_fl.inputs import whole_number
from secure_fl.mpc.aggregation import Aggregated as Aggregated
from secure_fl.mpc.aggregation import aggregate as aggregate
from secure_fl.mpc.bit_slicing import word_count
from secure_fl.mpc.compat import import_crypten
from secure_fl.mpc.division import divide
from secure_fl.mpc.provider import ProviderRing
from secure_fl.mpc.tensors import (
    WIDEST,
    Rows,
    Vectors,
    fraction_bits,
    share_at,
    width,
)

crypten = import_crypten()
from crypten.mpc import MPCTensor  # noqa: E402
from crypten.mpc.primitives import ArithmeticSharedTensor, BinarySharedTensor  # noqa: E402

ORDER_MAX_ABS = 2.0**15
NORM_MAX_ABS = 2.0**7


def kth_value(x: MPCTensor, k: int, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return the k-th smallest element along `dim`, k from 1 as in `torch.kthvalue`.

    Args:
        x: any shape.   k: from 1 to the size of `dim`.   dim: the axis that disappears.
        max_abs: bound on |x|.

    Raises:
        InputError: x is no `MPCTensor`, has no element, or k, dim or max_abs is out of range.

    Example:
        >>> x = crypten.cryptensor([[3.0, 1.0], [2.0, 5.0], [9.0, 4.0]])
        >>> kth_value(x, 1).get_plain_text()
        tensor([2., 1.])
    """
    rows = Rows(x, dim, max_abs)
    k = whole_number(k, "k")
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
    rows = Rows(x, dim, max_abs)
    place = q * (rows.count - 1)
    low = min(math.floor(place), rows.count - 1)
    weight = Fraction(round((place - low) * 2**FRACTION_BITS), 2**FRACTION_BITS)
    if weight == 0:
        return rows.column(rows.ops.order_statistics(rows.updates, [low])[0])
    width(max_abs, rows.precision, WIDEST - (weight.numerator - 1).bit_length())
    ranked = rows.ops.order_statistics(rows.updates, [low, low + 1])
    below, above = (value.data.share.numpy() for value in ranked)
    part = (above - below) * np.int64(weight.numerator)
    step = rows.ops.ring.protocols.floor_shift(part[None], weight.denominator.bit_length() - 1)[0]
    return rows.tensor(below + step, rows.rest)


def sort(x: MPCTensor, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return x in ascending order along `dim`. All ranks are selected side by side: n^2 work.

    Args and errors as in `kth_value`.

    Example:
        >>> sort(crypten.cryptensor([3.0, -1.0, 2.0])).get_plain_text()
        tensor([-1.,  2.,  3.])
    """
    rows = Rows(x, dim, max_abs)
    values = rows.ops.order_statistics(rows.updates, range(rows.count))
    return rows.whole(np.stack([value.data.share.numpy() for value in values]))


def topk_mask(x: MPCTensor, k: int, dim: int = 0, max_abs: float = ORDER_MAX_ABS) -> MPCTensor:
    """Return 1 at the k largest elements along `dim`, 0 elsewhere; of ties the last ones.

    Args and errors as in `kth_value`.

    Example:
        >>> topk_mask(crypten.cryptensor([3.0, -1.0, 2.0]), 2).get_plain_text()
        tensor([1., 0., 1.])
    """
    rows = Rows(x, dim, max_abs)
    k = whole_number(k, "k")
    require(1 <= k <= rows.count, "k", f"from 1 to {rows.count}", k)
    ring = rows.ops.ring.protocols
    planes = rows.ops.ring.planes(rows.matrix)
    (mask,) = ring.run("largest", planes, count=k)
    ones = ring.b2a(mask, rows.matrix.share.shape[1])
    return rows.whole(ones << rows.precision)


def trimmed_mean(
    x: MPCTensor, beta: float, dim: int = 0, max_abs: float = ORDER_MAX_ABS
) -> MPCTensor:
    """Return the mean along `dim` without the floor(beta n) smallest and largest of each column.

    Rounded to the nearest step, and exact where the mean is one.

    Args:
        x, dim, max_abs: as in `kth_value`.   beta: public, in [0, 0.5).

    Raises:
        InputError: beta or max_abs is out of range.

    Example:
        >>> trimmed_mean(crypten.cryptensor([1.0, 2.0, 4.0, 900.0]), 0.25).get_plain_text()
        tensor(3.)
    """
    require(0 <= beta < 0.5, "beta", "in [0, 0.5)", beta)
    rows = Rows(x, dim, max_abs)
    trim = trim_count(beta, rows.count)
    left = rows.count - 2 * trim
    bits = width(max_abs, rows.precision, 62 - left.bit_length())
    kept = rows.ops.where(rows.ops.trimmed_mask(rows.updates, trim), rows.updates, None)
    total = rows.ops.ring.lifted(rows.ops.settled(kept)).sum(axis=0)  # (d,)
    return rows.tensor(divide(rows.ops.ring.protocols, total, left << (bits - 1), left), rows.rest)


def squared_norm(x: MPCTensor, dim: int = 0, max_abs: float = NORM_MAX_ABS) -> MPCTensor:
    """Return the sum of squares along `dim`, added up without rounding and floored once.

    Args:
        x: any shape.   dim: the axis that disappears.
        max_abs: bound on |x|; the size d of `dim` must keep d 4^(bits - 1) below 2^61.

    Raises:
        InputError: max_abs is out of range, or too large for so many elements.

    Example:
        >>> squared_norm(crypten.cryptensor([0.001] * 1000)).get_plain_text()
        tensor(0.0010)
    """
    rows = Vectors(x, dim, max_abs)
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
    public = isinstance(y, torch.Tensor)
    rows = Vectors(x, dim, max_abs, FRACTION_BITS if public else fraction_bits(y, "y"))
    size = rows.updates.shape[1]
    require(tuple(y.shape) == (size,), "y's shape", f"({size},)", tuple(y.shape))
    if public:
        require(not y.is_complex(), "y's type", "real", y.dtype)
        return rows.column(rows.ops.cosine(rows.updates, y))
    data = ArithmeticSharedTensor.from_shares(share_at(y, rows.precision), precision=0)
    other = Secret(rows.ops, data, (size,), rows.updates.unit)
    return rows.column(rows.ops.cosine(rows.updates, other))


def clip_norm(
    x: MPCTensor, max_norm: float, dim: int = 0, max_abs: float = NORM_MAX_ABS
) -> MPCTensor:
    """Return x with vectors along `dim` that are longer than max_norm scaled down to it.

    A number x of a vector that is scaled is off by at most |x| 2^-16 and a step, downwards.

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
    rows = Vectors(x, dim, max_abs)
    step = rows.updates.unit
    require(step <= max_norm < math.inf, "max_norm", f"finite, and at least {step:g}", max_norm)
    longest = math.sqrt(rows.updates.shape[1]) * 2.0 ** (rows.matrix.bits - 1) * step
    if max_norm >= longest:
        return rows.whole(rows.matrix.share)
    clipped = rows.ops.clip(rows.updates, max_norm**2, max_norm)
    return rows.whole(rows.ops.ring.lifted(rows.ops.settled(clipped)))


def bit_planes(x: MPCTensor, max_abs: float = ORDER_MAX_ABS) -> BinarySharedTensor:
    """Return the bits of x (n, d): words (bits, n, W) in which 64 columns share a word.

    Not an `MPCTensor`, which holds one number an element. Plane j holds bit j of
    x 2^p + 2^(bits - 1), which is not negative; p is 16, or x's own precision where it has more.

    Raises:
        InputError: x is no matrix, or max_abs is out of range.

    Example:
        >>> planes = bit_planes(crypten.cryptensor([[1.0, -2.0]]), max_abs=4.0)
        >>> from_bit_planes(planes, 2).get_plain_text()
        tensor([[ 1., -2.]])
    """
    rows = Rows(x, 0, max_abs)
    require(len(x.shape) == 2, "x's shape", "(n, d)", tuple(x.shape))
    wires = rows.ops.ring.planes(rows.matrix)
    share = wires.xor_share(rows.ops.ring.protocols.leader).view(np.int64)
    return BinarySharedTensor.from_shares(torch.from_numpy(share), precision=0)


def from_bit_planes(
    planes: BinarySharedTensor, columns: int, precision: int = FRACTION_BITS
) -> MPCTensor:
    """Return the matrix (n, columns) whose `bit_planes` these are.

    Args:
        planes: from `bit_planes`.   columns: d.
        precision: p, the fractional bits of the matrix.

    Raises:
        InputError: planes are something else, or have no such shape.
    """
    found = isinstance(planes, BinarySharedTensor)
    require(found, "planes", "a BinarySharedTensor, from bit_planes", type(planes).__name__)
    shape = tuple(planes.share.shape)
    require(len(shape) == 3 and 0 not in shape, "planes' shape", "(bits, n, W)", shape)
    words = planes.share.numpy().view(np.uint64)
    columns, precision = whole_number(columns, "columns"), whole_number(precision, "precision")
    require(words.shape[2] == word_count(columns), "columns", "what W words hold", columns)
    require(0 <= precision < WIDEST, "precision", f"from 0 to {WIDEST - 1}", precision)
    ring = ProviderRing()
    wires = ring.wires(words)
    total = ring.constant(-(1 << (len(words) - 1)), (words.shape[1], columns))
    for j in range(len(words)):
        total = total + (ring.b2a(wires, columns, (j,)) << j)
    return MPCTensor.from_shares(torch.from_numpy(total), precision=precision)
