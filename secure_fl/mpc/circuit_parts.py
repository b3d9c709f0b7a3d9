"""What circuits are made of: addition, counting and selection on bit planes, for any `Gates`.

A wire is an array of words: word w holds the same bit position of coordinates 64 w to 64 w + 63.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import reduce

import numpy as np

from secure_fl.mpc.gates import Gates

# A sum's planes, and carries by bit position.
Sum = tuple[np.ndarray, dict[int, np.ndarray]]


# --- addition -------------------------------------------------------------------------------


def add_ripple(gates: Gates, x: np.ndarray, y: np.ndarray, watch: Sequence[int]) -> Sum:
    """Add bit planes x and y (B, ...) with a ripple carry: B layers of one plane each.

    Returns the sum modulo 2^B and the carries into the bits listed in `watch` (B means out).
    """
    bits = len(x)
    half = x ^ y
    total = half.copy()
    carries: dict[int, np.ndarray] = {}
    carry = np.zeros_like(x[0])
    last = max([bits - 1, *watch])
    for j in range(bits):
        if j in watch:
            carries[j] = carry
        if j:
            total[j] ^= carry
        if j < last:
            # carry' = x ^ ((x ^ y) & (x ^ carry)); for j = 0 that is x & y
            carry = x[j] ^ gates.and_(half[j], x[j] ^ carry)
    if bits in watch:
        carries[bits] = carry
    return total, carries


def add_prefix(gates: Gates, x: np.ndarray, y: np.ndarray, watch: Sequence[int]) -> Sum:
    """Add like `add_ripple` in 1 + log2(B) layers, for few coordinates (Sklansky, 1960)."""
    bits = len(x)
    half = x ^ y
    generate = gates.and_(x, y)
    propagate = half.copy()
    span = 1
    while span < bits:
        # Blocks of 2*span: every bit of the upper half absorbs the top bit of the lower half.
        upper = [j for j in range(bits) if j & span]
        lower = [(j & ~(span - 1)) - 1 for j in upper]
        product = gates.and_(
            np.concatenate([propagate[upper], propagate[upper]]),
            np.concatenate([generate[lower], propagate[lower]]),
        )
        generate[upper] ^= product[: len(upper)]
        propagate[upper] = product[len(upper) :]
        span *= 2
    total = half.copy()
    total[1:] ^= generate[:-1]
    zero = np.zeros_like(x[0])
    return total, {j: generate[j - 1] if j else zero for j in watch}


ADDERS = {"ripple": add_ripple, "prefix": add_prefix}


def subtract(gates: Gates, x: np.ndarray, y: np.ndarray, adder: str) -> tuple[np.ndarray, ...]:
    """Return planes of x - y modulo 2^B, and [x < y], for unsigned planes (B, ...).

    The complement of ~x + y = y - x - 1; that sum carries where y exceeds x.
    """
    bits = len(x)
    total, carries = ADDERS[adder](gates, gates.not_(x), y, (bits,))
    return gates.not_(total), carries[bits]


# --- counting -------------------------------------------------------------------------------


def count_bits(
    gates: Gates, inputs: np.ndarray, copies: Sequence[int] | None = None
) -> list[np.ndarray]:
    """Return the number of set bits among inputs (n, ...) as binary planes, lowest first.

    A tree of carry-save adders: a full adder a + b + c costs one AND,
    carry = a ^ ((a ^ b) & (a ^ c)), and all adders of a layer share a round. The count fits
    n.bit_length() planes, so the top column never carries and is summed for free.

    Args:
        copies: how often each bit counts, once by default: bit j of it puts the bit in column j.
    """
    often = [1] * len(inputs) if copies is None else copies
    top = sum(often).bit_length() - 1
    columns: list[list[np.ndarray]] = [
        [bit for bit, times in zip(inputs, often, strict=True) if times >> weight & 1]
        for weight in range(top + 1)
    ]
    while any(len(column) > 1 for column in columns[:top]):
        left: list[np.ndarray] = []
        right: list[np.ndarray] = []
        base: list[tuple[int, np.ndarray | None]] = []
        following: list[list[np.ndarray]] = [[] for _ in columns]
        following[top] = columns[top]
        for weight, column in enumerate(columns[:top]):
            while len(column) >= 2:
                a, b = column.pop(), column.pop()
                if column:
                    c = column.pop()
                    left.append(a ^ b)
                    right.append(a ^ c)
                    base.append((weight, a))
                    following[weight].append(a ^ b ^ c)
                else:
                    left.append(a)
                    right.append(b)
                    base.append((weight, None))
                    following[weight].append(a ^ b)
            following[weight] += column
        products = gates.and_(np.stack(left), np.stack(right))
        for (weight, addend), product in zip(base, products, strict=True):
            carry = product if addend is None else addend ^ product
            following[weight + 1].append(carry)
        columns = following
    zero = np.zeros_like(inputs[0])
    return [
        *(column[0] if column else zero for column in columns[:top]),
        reduce(np.bitwise_xor, columns[top], zero),
    ]


def at_least(gates: Gates, number: Sequence[np.ndarray], bound: np.ndarray) -> np.ndarray:
    """Return [number >= bound] for planes `number` (lowest first, each (K, ...)).

    `bound` holds K public integers from 1 to 2^m, one for each entry of the leading axis. The
    carry of number + (2^m - bound) decides; one AND a bit, OR where the constant has a one.
    """
    ones = ~np.uint64(0)
    constant = (1 << len(number)) - np.asarray(bound, np.int64)  # (K,)
    shape = (-1,) + (1,) * (number[0].ndim - 1)
    carry = np.zeros_like(number[0])
    for j, plane in enumerate(number):
        bit = np.where((constant >> j) & 1, ones, np.uint64(0)).astype(np.uint64).reshape(shape)
        if j == 0:
            carry = plane & bit
        else:
            # a AND c where the bit is 0, a OR c where it is 1: flip in and out.
            flipped = gates.and_(gates.flip(plane, bit), gates.flip(carry, bit))
            carry = gates.flip(flipped, bit)
    return carry


# --- order statistics -----------------------------------------------------------------------


class Selection:
    """Outcome of `select`: the k-th smallest values, and every value's side of them.

    Attributes:
        planes: uint64 (K, B, W), XOR shares of the k-th smallest value, bit planes.
        decided: (K, n, W), set where a value differs from the k-th smallest.
        last: (K, n, W), where decided: set if the value is the larger.
    """

    def __init__(self, planes: np.ndarray, decided: np.ndarray, last: np.ndarray) -> None:
        self.planes = planes
        self.decided = decided
        self.last = last


def select(
    gates: Gates,
    values: np.ndarray,
    ranks: Sequence[int],
    sides: bool = True,
    copies: Sequence[int] | None = None,
) -> Selection:
    """Select order statistics by radix, from the top bit down.

    Args:
        values: uint64 (B, n, W), XOR shares of unsigned B-bit values as planes, top plane last.
        ranks: 0-based ranks k; all are found side by side in the same rounds.
        sides: whether to finish `decided`, one more layer.
        copies: how often each value counts, once by default; ranks are those of all copies.

    At each bit, count the set bits among the n values: the k-th smallest has a one where at least
    n - k are set. A value that differs is decided, and from then on repeats its last bit: larger
    values count as all ones, smaller ones as all zeros, so the count stays right.
    """
    bits, n, words = values.shape
    shape = (len(ranks), n, words)
    total = n if copies is None else sum(copies)
    bound = np.array([total - k for k in ranks], np.int64)
    planes = np.empty((len(ranks), bits, words), np.uint64)
    decided = np.zeros(shape, np.uint64)
    last = np.zeros(shape, np.uint64)
    for j in reversed(range(bits)):
        current = np.broadcast_to(values[j], shape)
        if j < bits - 1:
            current = current ^ gates.and_(decided, current ^ last)
        counts = count_bits(gates, current.swapaxes(0, 1), copies)  # planes (K, W)
        bit = at_least(gates, counts, bound)
        planes[:, j] = bit
        differs = current ^ bit[:, None]
        if j == bits - 1:
            decided = differs
        elif j or sides:
            decided = gates.not_(gates.and_(gates.not_(decided), gates.not_(differs)))
        last = np.array(current)
    return Selection(planes, decided, last)


def greater(gates: Gates, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return [x > y] for unsigned planes (B, ...) in 1 + log2(B) layers.

    Blocks of bits know whether x is greater there (g) and whether they are equal (p); two
    neighbours join as g = g_high ^ (p_high & g_low), p = p_high & p_low.
    """
    g = gates.and_(x, gates.not_(y))
    p = gates.not_(x ^ y)
    while len(g) > 1:
        odd = len(g) % 2  # the lowest block waits
        low, high = slice(odd, None, 2), slice(odd + 1, None, 2)
        joined = gates.and_(np.concatenate([p[high], p[high]]), np.concatenate([g[low], p[low]]))
        half = len(joined) // 2
        g = np.concatenate([g[:odd], g[high] ^ joined[:half]])
        p = np.concatenate([p[:odd], joined[half:]])
    return g[0]


def ranks_of(gates: Gates, values: np.ndarray) -> list[np.ndarray]:
    """Return every value's rank among n by comparing all pairs: planes (n, W), lowest first.

    The rank of value i is the number of those that sort before it, ties by row. Its rounds grow
    with log2 of B and of n alone, its work with n^2.
    """
    n = values.shape[1]
    first, second = np.triu_indices(n, 1)
    if n == 1:
        return [np.zeros_like(values[0])]
    later = greater(gates, values[:, first], values[:, second])  # [value first > value second]
    number = np.zeros((n, n), np.int64)
    number[first, second] = np.arange(len(first))
    before = [
        np.stack(
            [gates.not_(later[number[j, i]]) for j in range(i)]
            + [later[number[i, j]] for j in range(i + 1, n)]
        )
        for i in range(n)
    ]
    return count_bits(gates, np.stack(before, axis=1))  # of (n - 1, n, W)


def or_(gates: Gates, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Return x | y."""
    return x ^ y ^ gates.and_(x, y)


def equals(gates: Gates, number: Sequence[np.ndarray], value: int) -> np.ndarray:
    """Return [number = value] for planes, lowest first, and a public value."""
    matches = [plane if value >> j & 1 else gates.not_(plane) for j, plane in enumerate(number)]
    while len(matches) > 1:
        half = len(matches) // 2
        products = gates.and_(np.stack(matches[:half]), np.stack(matches[half : 2 * half]))
        matches = [*products, *matches[2 * half :]]
    return matches[0]
