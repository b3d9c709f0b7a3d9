"""Boolean circuits on bit planes, each written once for every interpreter of `Gates`.

A wire is an array of words: word w holds the same bit position of coordinates 64 w to 64 w + 63.
The functions of the second half are what nodes and dealer run, by name, out of `CIRCUITS`; their
inputs and outputs are arrays whose last axis runs over words, so that they can be cut in blocks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import reduce

import numpy as np

from secure_fl.mpc.gates import CountingGates, Gates

# A sum's planes, and carries by bit position.
_Sum = tuple[np.ndarray, dict[int, np.ndarray]]
Outputs = tuple[np.ndarray, ...]
Circuit = Callable[..., Outputs]


# --- addition -------------------------------------------------------------------------------


def add_ripple(gates: Gates, x: np.ndarray, y: np.ndarray, watch: Sequence[int]) -> _Sum:
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


def add_prefix(gates: Gates, x: np.ndarray, y: np.ndarray, watch: Sequence[int]) -> _Sum:
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


def count_bits(gates: Gates, inputs: np.ndarray) -> list[np.ndarray]:
    """Return the number of set bits among inputs (n, ...) as binary planes, lowest first.

    A tree of carry-save adders: a full adder a + b + c costs one AND,
    carry = a ^ ((a ^ b) & (a ^ c)), and all adders of a layer share a round. The count fits
    n.bit_length() planes, so the top column never carries and is summed for free.
    """
    top = len(inputs).bit_length() - 1
    columns: list[list[np.ndarray]] = [list(inputs)] + [[] for _ in range(top)]
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
    return [*(column[0] for column in columns[:top]), reduce(np.bitwise_xor, columns[top])]


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


def select(gates: Gates, values: np.ndarray, ranks: Sequence[int], sides: bool = True) -> Selection:
    """Select order statistics by radix, from the top bit down.

    Args:
        values: uint64 (B, n, W), XOR shares of unsigned B-bit values as planes, top plane last.
        ranks: 0-based ranks k; all are found side by side in the same rounds.
        sides: whether to finish `decided`, one more layer.

    At each bit, count the set bits among the n values: the k-th smallest has a one where at least
    n - k are set. A value that differs is decided, and from then on repeats its last bit: larger
    values count as all ones, smaller ones as all zeros, so the count stays right.
    """
    bits, n, words = values.shape
    shape = (len(ranks), n, words)
    bound = np.array([n - k for k in ranks], np.int64)
    planes = np.empty((len(ranks), bits, words), np.uint64)
    decided = np.zeros(shape, np.uint64)
    last = np.zeros(shape, np.uint64)
    for j in reversed(range(bits)):
        current = np.broadcast_to(values[j], shape)
        if j < bits - 1:
            current = current ^ gates.and_(decided, current ^ last)
        counts = count_bits(gates, current.swapaxes(0, 1))  # planes (K, W)
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


# --- what nodes and dealer run by name ---------------------------------------------------------


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
        trimmed_mask,
        nearest,
        nearest_zero,
        largest,
        both,
    )
}


def count_ands(circuit: Callable[[Gates], object]) -> tuple[int, int]:
    """Return AND words and layers (rounds) that `circuit` uses."""
    gates = CountingGates()
    circuit(gates)
    return gates.words, gates.layers
