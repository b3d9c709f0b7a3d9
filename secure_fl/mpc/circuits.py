"""Boolean circuits on bit planes, each written once for every interpreter of `Gates`.

These are what nodes and dealer run, by name, out of `CIRCUITS`; their inputs and outputs are arrays
whose last axis runs over words (`circuit_parts`), so that they can be cut in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from secure_fl.mpc.circuit_parts import (
    ADDERS,
    at_least,
    count_bits,
    equals,
    or_,
    ranks_of,
    select,
    subtract,
)
from secure_fl.mpc.gates import CountingGates, Gates

Outputs = tuple[np.ndarray, ...]
Circuit = Callable[..., Outputs]


def _sum_of(
    gates: Gates, inputs: Sequence[np.ndarray], watch: Sequence[int], adder: str
) -> tuple[np.ndarray, list[dict[int, np.ndarray]]]:
    """Add the nodes' planes (B, rows, W), one node after the other."""
    total, carries = inputs[0], []
    for other in inputs[1:]:
        total, found = ADDERS[adder](gates, total, other, watch)
        carries.append(found)
    return total, carries


def a2b(
    gates: Gates, *inputs: np.ndarray, drop: int, carries: bool, adder: str = "ripple"
) -> Outputs:
    """Add one input a node (B, rows, W); return planes from `drop` up and the carry words.

    Carries, in one array (c, rows, W): into bit `drop` after each addition (if drop > 0), then out
    of the top after each.
    """
    bits = len(inputs[0])
    watch = (*((drop,) if drop else ()), bits) if carries else ()
    total, found = _sum_of(gates, inputs, watch, adder)
    words = [carry[j] for j in watch for carry in found]
    empty = np.zeros((0, *total.shape[1:]), np.uint64)
    return total[drop:], np.stack(words) if words else empty


def negative(gates: Gates, *inputs: np.ndarray, adder: str = "ripple") -> Outputs:
    """Return [x < 0], (rows, W), for inputs of x + 2^(B-1): the complement of the top plane."""
    return (gates.not_(_sum_of(gates, inputs, (), adder)[0][-1]),)


def thermometer(gates: Gates, *inputs: np.ndarray, adder: str = "ripple") -> Outputs:
    """Return [x >= 4^j], (31, W), for x below 2^62 whose planes are (64, 1, W)."""
    planes = _sum_of(gates, inputs, (), adder)[0][:62, 0]
    either = or_(gates, planes[0::2], planes[1::2])  # (31, W)
    span = 1
    while span < len(either):
        # Suffix OR: after this step, entry j covers j .. j + 2 span - 1.
        joined = or_(gates, either[:-span], either[span:])
        either = np.concatenate([joined, either[-span:]])
        span *= 2
    return (either,)


def rank_onehot(
    gates: Gates, *inputs: np.ndarray, ranks: Sequence[int], adder: str = "ripple"
) -> Outputs:
    """Return for each rank k a one-hot word row of the k-th smallest of m numbers, (K, W).

    Inputs are planes, offset to be unsigned, of numbers (m, m) that are negative at [j, i] where
    a_j sorts before a_i.
    """
    (before,) = negative(gates, *inputs, adder=adder)  # (m, W)
    count = count_bits(gates, before)
    return (np.stack([equals(gates, count, k) for k in ranks]),)


def rank_below(gates: Gates, *inputs: np.ndarray, count: int, adder: str = "ripple") -> Outputs:
    """Return which of c numbers are among the `count` smallest of theirs, (1, W).

    Inputs are planes, offset to be unsigned, of numbers (c, columns): a column for each number,
    negative at [j] where the j-th of its fellows sorts before it.
    """
    (before,) = negative(gates, *inputs, adder=adder)  # (c, W)
    number = [plane[None] for plane in count_bits(gates, before)]
    return (gates.not_(at_least(gates, number, np.array([count]))),)


def signs(gates: Gates, values: np.ndarray) -> Outputs:
    """Return [x < 0], (n, W), for planes (B, n, W) of x + 2^(B-1): no AND."""
    return (gates.not_(values[-1]),)


def count_at_least(gates: Gates, values: np.ndarray, *, count: int) -> Outputs:
    """Return whether at least `count` of n bits (n, W) are set, (1, W)."""
    number = [plane[None] for plane in count_bits(gates, values)]
    return (at_least(gates, number, np.array([count])),)


def order(
    gates: Gates, values: np.ndarray, *, ranks: Sequence[int], method: str = "radix"
) -> Outputs:
    """Return the order statistics of planes (B, n, W), lowest plane first: (K, B, W)."""
    if method == "radix":
        return (select(gates, values, ranks, sides=False).planes,)
    count = ranks_of(gates, values)  # planes (n, W)
    chosen = np.stack([equals(gates, count, k) for k in ranks])  # (K, n, W), one-hot
    bits, n, words = values.shape
    shape = (len(ranks), bits, n, words)
    picked = gates.and_(
        np.broadcast_to(chosen[:, None], shape), np.broadcast_to(values[None], shape)
    )
    return (np.bitwise_xor.reduce(picked, axis=2),)


def weighted_order(
    gates: Gates, values: np.ndarray, *, copies: Sequence[int], ranks: Sequence[int]
) -> Outputs:
    """Return order statistics of a multiset in which value i stands copies[i] times: (K, B, W)."""
    return (select(gates, values, ranks, sides=False, copies=copies).planes,)


def trimmed_mask(gates: Gates, values: np.ndarray, *, trim: int, method: str = "radix") -> Outputs:
    """Return which of n values lie between the `trim` smallest and the `trim` largest, (n, W).

    Ties go by row.
    """
    n = values.shape[1]
    if method == "radix":
        found = select(gates, _numbered(gates, values), (trim, n - 1 - trim))
        # Below the lower bound, above the upper: decided, and the last bit tells the side.
        # Never both.
        side = np.stack([gates.not_(found.last[0]), found.last[1]])
        beyond = gates.and_(found.decided, side)
        return (gates.not_(beyond[0] ^ beyond[1]),)
    if trim == 0:
        return (gates.constant(np.full(values.shape[1:], ~np.uint64(0))),)
    count = ranks_of(gates, values)
    number = [np.stack([plane, plane]) for plane in count]  # (2, n, W)
    reached = at_least(gates, number, np.array([trim, n - trim]))
    return (reached[0] ^ reached[1],)


def nearest(
    gates: Gates, values: np.ndarray, *, ranks: Sequence[int], keep: int, method: str = "radix"
) -> Outputs:
    """Return which of n values are the `keep` nearest to the median, (n, W).

    The median is the mean of the order statistics `ranks`, one or two. Ties go to values below the
    median, then by row.
    """
    bits, n, words = values.shape
    if keep == n:
        return (gates.constant(np.full((n, words), ~np.uint64(0))),)
    adder = {"radix": "ripple", "pairwise": "prefix"}[method]
    (found,) = order(gates, values, ranks=ranks, method=method)
    center = found[0]
    if len(ranks) == 2:  # compare 2 x with the sum of the two
        total, carries = ADDERS[adder](gates, found[0], found[1], (bits,))
        center = np.concatenate([total, carries[bits][None]])
        values = np.concatenate([np.zeros((1, n, words), np.uint64), values])
    shape = (len(values), n, words)
    difference, below = subtract(gates, values, np.broadcast_to(center[:, None], shape), adder)
    # One's complement: |x - median|, less one below it. With the side as lowest bit that is
    # 2 |x - median|, less one below: in order of distance.
    return (_closest(gates, np.concatenate([below[None], difference ^ below]), keep, method),)


def nearest_zero(gates: Gates, values: np.ndarray, *, keep: int, method: str = "radix") -> Outputs:
    """Return which of n numbers are the `keep` nearest to 0, (n, W), ties as in `nearest`.

    Inputs are planes (B, n, W) of x + 2^(B-1): |x|, less one below 0, in their low bits.
    """
    if keep == values.shape[1]:
        return (gates.constant(np.full(values.shape[1:], ~np.uint64(0))),)
    below = gates.not_(values[-1])
    return (_closest(gates, np.concatenate([below[None], values[:-1] ^ below]), keep, method),)


def _closest(gates: Gates, distance: np.ndarray, keep: int, method: str) -> np.ndarray:
    """Return which of n distances (B, n, W) are the `keep` smallest, ties by row."""
    if method == "radix":
        chosen = select(gates, _numbered(gates, distance), (keep - 1,))
        return gates.not_(gates.and_(chosen.decided, chosen.last))[0]
    count = [plane[None] for plane in ranks_of(gates, distance)]
    return gates.not_(at_least(gates, count, np.array([keep])))[0]


def largest(gates: Gates, values: np.ndarray, *, count: int) -> Outputs:
    """Return which of n values are the `count` largest, (n, W); of ties the last rows."""
    n = values.shape[1]
    found = select(gates, _numbered(gates, values), (n - count,))
    # Smaller than the bound: decided, with a last bit of zero.
    return (gates.not_(gates.and_(found.decided, gates.not_(found.last)))[0],)


def _numbered(gates: Gates, values: np.ndarray) -> np.ndarray:
    """Append the row's number as lowest bits to values (B, n, W): all are distinct then."""
    _, n, words = values.shape
    width = max(1, (n - 1).bit_length())
    number = (np.arange(n)[None, :] >> np.arange(width)[:, None]) & 1  # (width, n)
    low = np.where(number, ~np.uint64(0), np.uint64(0)).astype(np.uint64)[:, :, None]
    low = gates.constant(np.broadcast_to(low, (width, n, words)))
    return np.concatenate([low, values])


def differ(gates: Gates, x: np.ndarray, y: np.ndarray) -> Outputs:
    """Return where rows (n, W) differ from one (1, W): no AND."""
    return (x ^ y,)


def both(gates: Gates, x: np.ndarray, y: np.ndarray) -> Outputs:
    """Return x & y."""
    return (gates.and_(x, y),)


CIRCUITS: dict[str, Circuit] = {
    circuit.__name__: circuit
    for circuit in (
        a2b,
        negative,
        thermometer,
        rank_onehot,
        rank_below,
        signs,
        count_at_least,
        order,
        weighted_order,
        trimmed_mask,
        nearest,
        nearest_zero,
        largest,
        differ,
        both,
    )
}


def count_ands(circuit: Callable[[Gates], object]) -> tuple[int, int]:
    """Return AND words and layers (rounds) that `circuit` uses."""
    gates = CountingGates()
    circuit(gates)
    return gates.words, gates.layers
