"""Boolean circuits on XOR-shared words: 64 wires to a word, one exchange to a layer.

A wire holds the same bit position of 64 coordinates. XOR is local; an AND costs a triple and two
opened words; a layer of independent ANDs costs one round whatever its width (Beaver, CRYPTO 1991).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache, reduce

import numpy as np

from secure_fl.mpc.correlations import NodeSource
from secure_fl.mpc.transport import Mesh

# A sum's planes, and carries by bit position.
_Sum = tuple[np.ndarray, dict[int, np.ndarray]]


class Gates:
    """Evaluates layers of gates on this node's shares (uint64 arrays of any shape)."""

    def __init__(self, mesh: Mesh, source: NodeSource) -> None:
        self.mesh = mesh
        self.source = source
        self.leader = mesh.rank == 0

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Return shares of x & y; both have one shape.

        1. Take shares of a, b and c = a & b.
        2. Open e = x ^ a and f = y ^ b: uniform, since a and b are.
        3. Return c ^ (e & b) ^ (f & a) ^ (e & f), the last term at node 0 alone.
        """
        a, b, c = self.source.and_triple(x.shape)
        masked = np.empty((2, *x.shape), np.uint64)
        np.bitwise_xor(x, a, out=masked[0])
        np.bitwise_xor(y, b, out=masked[1])
        for theirs in self.mesh.exchange(masked):
            masked ^= theirs
        e, f = masked
        result = np.bitwise_and(e, b)
        result ^= c
        other = np.bitwise_and(f, a)
        result ^= other
        if self.leader:
            np.bitwise_and(e, f, out=other)
            result ^= other
        return result

    def not_(self, x: np.ndarray) -> np.ndarray:
        """Return shares of the complement: one node flips."""
        return ~x if self.leader else x

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        """Return shares of x ^ public."""
        return x ^ public if self.leader else x

    def open(self, x: np.ndarray) -> np.ndarray:
        """Return x in the clear, at every node."""
        total = np.array(x, np.uint64)
        for theirs in self.mesh.exchange(total.copy()):
            total ^= theirs
        return total


class CountingGates(Gates):
    """Counts AND words without computing: the same circuit run once tells what to reserve."""

    def __init__(self) -> None:
        self.leader = True
        self.words = 0
        self.layers = 0

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        """Count a layer."""
        self.words += x.size
        self.layers += 1
        return np.zeros_like(x)


def count_ands(circuit: Callable[[Gates], object]) -> tuple[int, int]:
    """Return AND words and layers (rounds) that `circuit` would use."""
    gates = CountingGates()
    circuit(gates)
    return gates.words, gates.layers


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


# Below this many words to a plane the rounds saved outweigh the ANDs added.
PREFIX_WORDS = 64


def add(gates: Gates, x: np.ndarray, y: np.ndarray, watch: Sequence[int] = ()) -> _Sum:
    """Add bit planes, choosing the adder by width."""
    adder = add_prefix if x[0].size <= PREFIX_WORDS else add_ripple
    return adder(gates, x, y, watch)


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

    def larger(self, gates: Gates) -> np.ndarray:
        """Return [value > k-th smallest], (K, n, W)."""
        return gates.and_(self.decided, self.last)


def select(gates: Gates, values: np.ndarray, ranks: Sequence[int]) -> Selection:
    """Select order statistics by radix, from the top bit down.

    Args:
        values: uint64 (B, n, W), XOR shares of unsigned B-bit values as planes, top plane last.
        ranks: 0-based ranks k; all are found side by side in the same rounds.

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
        else:
            decided = gates.not_(gates.and_(gates.not_(decided), gates.not_(differs)))
        last = np.array(current)
    return Selection(planes, decided, last)


@lru_cache(maxsize=256)
def selection_cost(bits: int, n: int, ranks: tuple[int, ...]) -> tuple[int, int]:
    """Return AND words a column of 64 coordinates, and rounds, of `select`."""
    return count_ands(lambda gates: select(gates, np.zeros((bits, n, 1), np.uint64), ranks))
