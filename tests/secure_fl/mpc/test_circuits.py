"""Circuits against integers: in the clear, and under masks between threads that play the nodes."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from queue import SimpleQueue
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.mpc import circuit_parts, circuits
from secure_fl.mpc.bit_slicing import from_planes, to_planes, unpack_bits
from secure_fl.mpc.circuits import CIRCUITS
from secure_fl.mpc.gates import BeaverGates, Gates
from secure_fl.mpc.prg import Stream
from secure_fl.mpc.wires import DealerGates, EvaluateGates, PrepareGates


class ClearGates(Gates):
    """Gates on wires in the clear."""

    def and_(self, x: np.ndarray, y: np.ndarray) -> np.ndarray:
        assert x.shape == y.shape
        return x & y

    def flip(self, x: np.ndarray, public: np.ndarray) -> np.ndarray:
        return x ^ public

    def constant(self, public: np.ndarray) -> np.ndarray:
        return public


CLEAR = ClearGates()


@st.composite
def matrices(draw: st.DrawFn, most: int = 21) -> tuple[np.ndarray, int]:
    """Unsigned integers (n, d) of some width, few different ones so that ties are common."""
    bits = draw(st.integers(1, 12))
    n, d = draw(st.integers(1, most)), draw(st.integers(1, 70))
    seed = draw(st.integers(0, 2**32 - 1))
    spread = draw(st.integers(1, 1 << bits))
    rng = np.random.default_rng(seed)
    return rng.integers(0, spread, (n, d)), bits


@settings(deadline=None, max_examples=60)
@given(matrices(), st.data())
def test_order_statistics(case: tuple[np.ndarray, int], data: st.DataObject) -> None:
    values, bits = case
    n, d = values.shape
    ranks = data.draw(st.lists(st.integers(0, n - 1), min_size=1, max_size=3))
    for method in ("radix", "pairwise"):
        (planes,) = circuits.order(CLEAR, to_planes(values, bits), ranks=ranks, method=method)
        found = [from_planes(rank[:, None], d)[0] for rank in planes]
        np.testing.assert_array_equal(found, np.sort(values, axis=0)[ranks])


@settings(deadline=None, max_examples=60)
@given(matrices(), st.data())
def test_trimming(case: tuple[np.ndarray, int], data: st.DataObject) -> None:
    values, bits = case
    n, d = values.shape
    trim = data.draw(st.integers(0, (n - 1) // 2))
    place = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    for method in ("radix", "pairwise"):
        (kept,) = circuits.trimmed_mask(CLEAR, to_planes(values, bits), trim=trim, method=method)
        wanted = (place >= trim) & (place < n - trim)
        np.testing.assert_array_equal(unpack_bits(kept, d), wanted)


@settings(deadline=None, max_examples=60)
@given(matrices(), st.data())
def test_nearest_to_the_median(case: tuple[np.ndarray, int], data: st.DataObject) -> None:
    values, bits = case
    n, d = values.shape
    keep = data.draw(st.integers(1, n))
    ordered = np.sort(values, axis=0)
    ranks = [n // 2] if n % 2 else [n // 2 - 1, n // 2]
    twice = 2 * values - ordered[ranks].sum(axis=0) * (3 - len(ranks))
    place = np.lexsort((np.indices((n, d))[0], twice > 0, np.abs(twice)), axis=0)
    for method in ("radix", "pairwise"):
        (near,) = circuits.nearest(
            CLEAR, to_planes(values, bits), ranks=ranks, keep=keep, method=method
        )
        wanted = np.argsort(place, axis=0) < keep
        np.testing.assert_array_equal(unpack_bits(near, d), wanted)


@settings(deadline=None, max_examples=60)
@given(matrices(), st.data())
def test_largest(case: tuple[np.ndarray, int], data: st.DataObject) -> None:
    values, bits = case
    n, d = values.shape
    place = np.argsort(np.argsort(values, axis=0, kind="stable"), axis=0, kind="stable")
    count = data.draw(st.integers(1, n))
    (top,) = circuits.largest(CLEAR, to_planes(values, bits), count=count)
    np.testing.assert_array_equal(unpack_bits(top, d), place >= n - count)


@settings(deadline=None, max_examples=60)
@given(matrices(most=4), st.integers(0, 11), st.booleans())
def test_adders_and_their_carries(case: tuple[np.ndarray, int], drop: int, carries: bool) -> None:
    values, bits = case
    drop = min(drop, bits - 1)
    shares = [np.random.default_rng(k).integers(0, 1 << bits, values.shape) for k in range(2)]
    shares.append((values - shares[0] - shares[1]) % (1 << bits))
    total, low, top = shares[0], [], []
    for share in shares[1:]:
        mask = (1 << drop) - 1
        low.append(((total & mask) + (share & mask)) >> drop)
        top.append((total + share) >> bits)
        total = (total + share) % (1 << bits)
    for adder in ("ripple", "prefix"):
        planes, words = circuits.a2b(
            CLEAR,
            *(to_planes(share, bits) for share in shares),
            drop=drop,
            carries=carries,
            adder=adder,
        )
        np.testing.assert_array_equal(from_planes(planes, values.shape[1]), values >> drop)
        wanted = [*(low if drop else []), *top] if carries else []
        assert len(words) == len(wanted)
        for word, carry in zip(words, wanted, strict=True):
            np.testing.assert_array_equal(unpack_bits(word, values.shape[1]), carry)


@given(matrices())
@settings(deadline=None, max_examples=40)
def test_counting_and_comparing(case: tuple[np.ndarray, int]) -> None:
    values, bits = case
    n, d = values.shape
    odd = to_planes(values & 1, 1)[0]
    count = np.stack(circuit_parts.count_bits(CLEAR, odd))
    ones = (values & 1).sum(axis=0)
    np.testing.assert_array_equal(from_planes(count[:, None], d)[0], ones)
    number = [plane[None] for plane in count]
    for bound in range(1, n + 1):
        reached = circuit_parts.at_least(CLEAR, number, np.array([bound]))
        np.testing.assert_array_equal(unpack_bits(reached, d)[0], ones >= bound)
        same = circuit_parts.equals(CLEAR, list(count), bound)
        np.testing.assert_array_equal(unpack_bits(same, d), ones == bound)
    x, y = to_planes(values[:1], bits)[:, 0], to_planes(values[-1:], bits)[:, 0]
    larger = circuit_parts.greater(CLEAR, x, y)
    np.testing.assert_array_equal(unpack_bits(larger, d), values[0] > values[-1])


@pytest.mark.parametrize("adder", ["ripple", "prefix"])
def test_signs_and_sizes_of_64_bit_numbers(adder: str) -> None:
    rng = np.random.default_rng(3)
    edges = [0, 1, 3, 4, 4**30 - 1, 4**30, 2**62 - 1]
    values = np.array([*edges, *rng.integers(0, 2**62, 40), *rng.integers(0, 2**20, 40)])
    share = rng.integers(-(2**63), 2**63 - 1, len(values))
    with np.errstate(over="ignore"):
        offset = np.int64(-(2**63))
        inputs = [to_planes(part[None], 64) for part in (share, values - share + offset)]
        (steps,) = circuits.thermometer(CLEAR, *inputs, adder=adder)
        wanted = [values >= 4**j for j in range(31)]
        np.testing.assert_array_equal(unpack_bits(steps, len(values)), wanted)
        signed = np.where(rng.random(len(values)) < 0.5, values, -values)
        parts = [to_planes(part[None], 64) for part in (share, signed - share + offset)]
        (below,) = circuits.negative(CLEAR, *parts, adder=adder)
        np.testing.assert_array_equal(unpack_bits(below, len(values))[0], signed < 0)


@pytest.mark.parametrize("m", [1, 2, 64, 65, 130])
def test_ranks_of_numbers_by_comparing_all_pairs(m: int) -> None:
    """Ties too, and more numbers than a word has bits."""
    rng = np.random.default_rng(m)
    a = rng.integers(-3, 4, m)
    before = a[:, None] - a[None, :] - np.triu(np.ones((m, m), np.int64), 1)
    share = rng.integers(-(2**63), 2**63 - 1, (m, m))
    with np.errstate(over="ignore"):
        inputs = [to_planes(x, 64) for x in (share, before - share + np.int64(-(2**63)))]
    ranks = sorted({0, m // 2, m - 1})
    (found,) = circuits.rank_onehot(CLEAR, *inputs, ranks=ranks)
    wanted = np.argsort(a, kind="stable")[ranks]
    np.testing.assert_array_equal(unpack_bits(found, m), np.eye(m, dtype=np.int64)[wanted])


CUT: dict[str, tuple[int, int, dict[str, Any]]] = {
    "a2b": (2, 12, {"drop": 2, "carries": True}),
    "negative": (2, 12, {}),
    "thermometer": (2, 64, {}),
    "rank_onehot": (2, 64, {"ranks": [0, 3]}),
    "rank_below": (2, 64, {"count": 2}),
    "signs": (1, 6, {}),
    "count_at_least": (1, 6, {"count": 3}),
    "order": (1, 6, {"ranks": [2, 3]}),
    "weighted_order": (1, 6, {"copies": [3, 0, 1, 4, 1, 2], "ranks": [5, 6]}),
    "trimmed_mask": (1, 6, {"trim": 1}),
    "nearest": (1, 6, {"ranks": [2, 3], "keep": 4}),
    "nearest_zero": (1, 6, {"keep": 4}),
    "largest": (1, 6, {"count": 2}),
    "differ": (2, 1, {}),
    "both": (2, 1, {}),
}


@pytest.mark.parametrize("name", sorted(CIRCUITS))
def test_every_circuit_can_be_cut_in_blocks_of_words(name: str) -> None:
    """Nodes and dealer do so by memory; no circuit may ask which words it was given."""
    count, bits, params = CUT[name]
    rng = np.random.default_rng(1)
    shape = (bits, 1 if name == "thermometer" else 6, 5)
    inputs = [rng.integers(0, 2**64 - 1, shape, np.uint64) for _ in range(count)]
    whole = CIRCUITS[name](CLEAR, *inputs, **params)
    for width in (1, 2):
        blocks = [slice(start, start + width) for start in range(0, 5, width)]
        parts = [CIRCUITS[name](CLEAR, *(x[..., b] for x in inputs), **params) for b in blocks]
        for one, cut in zip(whole, zip(*parts, strict=True), strict=True):
            np.testing.assert_array_equal(one, np.concatenate(cut, axis=-1))


class Wire:
    """An exchange between threads that play the nodes."""

    def __init__(self, rank: int, queues: Sequence[Sequence[SimpleQueue[np.ndarray]]]) -> None:
        self.rank, self.size = rank, len(queues)
        self._queues = queues
        self.opened: list[np.ndarray] = []

    def exchange(self, mine: np.ndarray) -> list[np.ndarray]:
        others = [rank for rank in range(self.size) if rank != self.rank]
        for other in others:
            self._queues[self.rank][other].put(mine.copy())
        theirs = [self._queues[other][self.rank].get(timeout=60) for other in others]
        self.opened.append(np.bitwise_xor.reduce([mine, *theirs]))
        return theirs


def wired(nodes: int) -> list[Wire]:
    queues = [[SimpleQueue() for _ in range(nodes)] for _ in range(nodes)]
    return [Wire(rank, queues) for rank in range(nodes)]


TASKS: dict[str, dict[str, Any]] = {
    "order": {"ranks": [2, 3]},
    "weighted_order": {"copies": [3, 0, 1, 4, 1, 2], "ranks": [5, 6]},
    "trimmed_mask": {"trim": 1},
    "nearest": {"ranks": [2, 3], "keep": 4},
    "largest": {"count": 2},
    "both": {},
}


def clear_inputs(name: str, seed: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    values = to_planes(rng.integers(0, 64, (6, 100)), 6)
    return [values, values[::-1]] if name == "both" else [values]


def under_masks(
    name: str, params: dict[str, Any], inputs: Sequence[np.ndarray], nodes: int, seed: int = 0
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Run a circuit in its three roles; return its values and all words that were opened."""
    keys = [bytes([rank, seed]) * 8 for rank in range(nodes)]
    corrections: list[np.ndarray] = []
    dealer = DealerGates([Stream(key) for key in keys], corrections.append)
    secret = Stream(bytes([nodes, seed]) * 8)
    shares = [[secret.words(x.shape) for x in inputs] for _ in range(nodes)]
    masks = [np.bitwise_xor.reduce(column) for column in zip(*shares, strict=True)]
    CIRCUITS[name](dealer, *masks, **params)
    wires = wired(nodes)

    def node(rank: int) -> list[np.ndarray]:
        queue = iter(corrections)
        correction = None if rank else lambda shape: next(queue)
        prepare = PrepareGates(Stream(keys[rank]), correction)
        out_shares = CIRCUITS[name](prepare, *shares[rank], **params)
        evaluate = EvaluateGates(wires[rank], prepare.steps)
        masked = [x ^ mask for x, mask in zip(inputs, masks, strict=True)]
        out = CIRCUITS[name](evaluate, *masked, **params)
        assert next(queue, None) is None or rank, "a correction was not used"
        return [m ^ s if rank == 0 else s for m, s in zip(out, out_shares, strict=True)]

    with ThreadPoolExecutor(nodes) as pool:
        parts = list(pool.map(node, range(nodes)))
    return [np.bitwise_xor.reduce(part) for part in zip(*parts, strict=True)], wires[0].opened


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("name", TASKS)
def test_masked_wires_give_what_the_clear_gives(name: str, nodes: int) -> None:
    inputs = clear_inputs(name, nodes)
    found, opened = under_masks(name, TASKS[name], inputs, nodes)
    wanted = CIRCUITS[name](CLEAR, *inputs, **TASKS[name])
    for a, b in zip(found, wanted, strict=True):
        np.testing.assert_array_equal(a, b)
    # One word opened for each AND, no more.
    words, layers = circuits.count_ands(lambda g: CIRCUITS[name](g, *inputs, **TASKS[name]))
    assert (sum(word.size for word in opened), len(opened)) == (words, layers)


def test_what_masked_wires_open_is_uniform() -> None:
    """All inputs zero: without masks every opened word would be zero or all ones."""
    inputs = [np.zeros_like(x) for x in clear_inputs("order", 0)]
    octets = np.concatenate(
        [
            word.ravel().view(np.uint8)
            for seed in range(30)
            for word in under_masks("order", TASKS["order"], inputs, 2, seed)[1]
        ]
    )
    counts = np.bincount(octets, minlength=256)
    expected = len(octets) / 256
    statistic = float(((counts - expected) ** 2 / expected).sum())
    # Chi-square with 255 degrees of freedom exceeds 400 once in 10^8.
    assert len(octets) > 90_000
    assert statistic < 400


@pytest.mark.parametrize("nodes", [2, 3])
def test_beaver_gates_give_what_the_clear_gives(nodes: int) -> None:
    inputs = clear_inputs("order", 1)
    wires = wired(nodes)
    secret = Stream(bytes(16))
    shares = [secret.words(inputs[0].shape) for _ in range(nodes - 1)]
    shares.append(np.bitwise_xor.reduce([inputs[0], *shares]))

    def node(rank: int) -> np.ndarray:
        stream = np.random.default_rng(0)  # the same at all: each takes its own part

        def triple(shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
            parts = stream.integers(0, 2**64 - 1, (3, nodes, *shape), np.uint64)
            a, b = (np.bitwise_xor.reduce(parts[i]) for i in range(2))
            parts[2, 0] ^= np.bitwise_xor.reduce(parts[2]) ^ (a & b)
            return parts[0, rank], parts[1, rank], parts[2, rank]

        return CIRCUITS["order"](BeaverGates(wires[rank], triple), shares[rank], ranks=[1, 4])[0]

    with ThreadPoolExecutor(nodes) as pool:
        found = np.bitwise_xor.reduce(list(pool.map(node, range(nodes))))
    (wanted,) = CIRCUITS["order"](CLEAR, *inputs, ranks=[1, 4])
    np.testing.assert_array_equal(found, wanted)
