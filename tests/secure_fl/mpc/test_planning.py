"""The cost model, and the formulas of docs/protocol.md against circuits and real processes."""

from __future__ import annotations

import dataclasses
import math

import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.errors import InputError
from secure_fl.mpc.planning import (
    BLOCK_BYTES,
    Network,
    block_width,
    cheapest,
    counted,
    rank_groups,
)

SIZES = [1, 2, 3, 5, 8, 16, 20, 21, 33]


def count(n: int) -> tuple[int, int]:
    """ANDs and layers of counting n bits: read off the order statistic of one-bit values.

    With one bit and one rank there is nothing but the count and the comparison.
    """
    ands, layers = counted("order", [(1, n, 1)], {"ranks": [0]})
    compare = n.bit_length() - 1
    return ands - compare, layers - compare


@pytest.mark.parametrize("n", SIZES)
def test_counting_takes_about_n_ands(n: int) -> None:
    ands, layers = count(n)
    assert n - n.bit_count() <= ands <= 1.2 * n
    assert layers <= 2 * math.ceil(math.log2(n + 1))


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("bits", [2, 18, 24])
@pytest.mark.parametrize("ranks", [1, 2])
def test_formulas_of_radix_selection(n: int, bits: int, ranks: int) -> None:
    ands, layers = count(n)
    compare = n.bit_length() - 1
    each = bits * (ands + compare) + n * (bits - 1) + n * max(bits - 2, 0)
    rounds = bits * (layers + compare) + (bits - 1) + max(bits - 2, 0)
    params = {"ranks": [0] * ranks, "method": "radix"}
    assert counted("order", [(bits, n, 1)], params) == (ranks * each, rounds)


def sides(n: int, bits: int, ranks: int) -> tuple[int, int]:
    """S(K, b) of the page: ANDs and layers."""
    ands, layers = count(n)
    compare = n.bit_length() - 1
    each = bits * (ands + compare) + 2 * n * (bits - 1)
    return ranks * each, bits * (layers + compare) + 2 * (bits - 1)


@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize("bits", [2, 18, 24])
def test_formulas_of_bounds_on_both_ends(n: int, bits: int) -> None:
    ands, layers = sides(n, bits + (n - 1).bit_length(), 2)
    params = {"trim": 0, "method": "radix"}
    assert counted("trimmed_mask", [(bits, n, 1)], params) == (ands + 2 * n, layers + 1)


@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize("bits", [2, 18, 24])
@pytest.mark.parametrize("ranks", [1, 2])
def test_formulas_of_the_nearest(n: int, bits: int, ranks: int) -> None:
    order = counted("order", [(bits, n, 1)], {"ranks": [0] * ranks, "method": "radix"})
    far = sides(n, bits + ranks + (n - 1).bit_length(), 1)
    wider = bits + ranks - 1
    ands = order[0] + (ranks - 1) * bits + n * wider + far[0] + n
    layers = order[1] + (ranks - 1) * bits + wider + far[1] + 1
    params = {"ranks": [0] * ranks, "keep": n - 1, "method": "radix"}
    assert counted("nearest", [(bits, n, 1)], params) == (ands, layers)


@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize("bits", [2, 18, 24])
def test_formulas_of_the_nearest_to_a_center(n: int, bits: int) -> None:
    ands, layers = sides(n, bits + (n - 1).bit_length(), 1)
    params = {"keep": n - 1, "method": "radix"}
    assert counted("nearest_zero", [(bits, n, 1)], params) == (ands + n, layers + 1)


@pytest.mark.parametrize("n", SIZES)
def test_formulas_of_signs_and_their_number(n: int) -> None:
    ands, layers = count(n)
    compare = n.bit_length() - 1
    assert counted("signs", [(18, n, 1)], {}) == (0, 0)
    assert counted("count_at_least", [(n, 1)], {"count": 1}) == (ands + compare, layers + compare)


@pytest.mark.parametrize("n", SIZES[1:])
@pytest.mark.parametrize("bits", [2, 18, 24])
@pytest.mark.parametrize("ranks", [1, 2])
def test_formulas_of_pairwise_comparison(n: int, bits: int, ranks: int) -> None:
    ands, layers = count(n - 1)
    planes = (n - 1).bit_length()
    pairs = n * (n - 1) // 2
    wanted = pairs * (3 * bits - 2) + n * ands + ranks * n * (planes - 1) + ranks * bits * n
    rounds = 1 + math.ceil(math.log2(bits)) + layers + ranks * math.ceil(math.log2(planes)) + 1
    params = {"ranks": [0] * ranks, "method": "pairwise"}
    assert counted("order", [(bits, n, 1)], params) == (wanted, rounds)


@pytest.mark.parametrize("nodes", [2, 3, 4])
@pytest.mark.parametrize("bits", [2, 18, 64])
def test_formulas_of_addition(nodes: int, bits: int) -> None:
    shapes = [(bits, 5, 1)] * nodes
    ripple = counted("a2b", shapes, {"drop": 0, "carries": True, "adder": "ripple"})
    assert ripple == ((nodes - 1) * 5 * bits, (nodes - 1) * bits)
    prefix = counted("a2b", shapes, {"drop": 0, "carries": True, "adder": "prefix"})
    assert prefix[1] == (nodes - 1) * (1 + math.ceil(math.log2(bits)))
    assert prefix[0] <= (nodes - 1) * 5 * bits * (1 + math.ceil(math.log2(bits)))


def test_the_model_prefers_few_rounds_only_where_latency_rules() -> None:
    shapes, params = [(18, 20, 1563)], {"ranks": [9, 10]}
    assert cheapest(Network(), 2, "order", shapes, params) == {"method": "radix"}
    slow = Network(latency_ms=20.0, mbit=100.0)
    assert cheapest(slow, 2, "order", [(18, 20, 2)], params) == {"method": "pairwise"}
    narrow = Network(latency_ms=0.06, mbit=1.0)
    assert cheapest(narrow, 2, "order", shapes, params) == {"method": "radix"}
    assert cheapest(Network(), 2, "both", [(1, 1), (1, 1)], {}) == {}


def test_blocks_bound_memory() -> None:
    for n, method in ((5, "radix"), (100, "radix"), (100, "pairwise")):
        shapes = [(24, n, 1 << 20)]
        params = {"ranks": [0, 1], "method": method}
        ands, _ = counted("order", shapes, params)
        assert ands * block_width("order", shapes, params) * 24 <= 256 << 20


@pytest.mark.parametrize(("latency", "mbit"), [(-1.0, 10.0), (1.0, 0.0)])
def test_impossible_networks_are_refused(latency: float, mbit: float) -> None:
    with pytest.raises(InputError):
        Network(latency, mbit)


@pytest.mark.parametrize("nodes", [2, 3])
def test_a_mean_of_other_weights_costs_what_the_page_says(nodes: int) -> None:
    """docs/protocol.md: "round down", on top of the opening, against counters of processes."""
    n, d, bits = 5, 6400, 24
    words = d // 64
    x = torch.zeros(n, d)
    equal, other = torch.ones(n), torch.tensor([1.0, 1.0, 1.0, 1.0, 0.5])
    network = Network(latency_ms=0.0)  # ripple
    with secure_fl.open_backend("mpc", nodes=nodes, network=network) as backend:
        before, after = (
            secure_fl.aggregate(x, "weighted_mean", backend, reputation=weights).cost
            for weights in (equal, other)
        )
    ands, layers = (nodes - 1) * bits, (nodes - 1) * bits
    assert after.rounds - before.rounds == 1 + layers
    more = 8 * words * (bits + ands)  # of one node, to each peer
    assert after.bytes_online - before.bytes_online == (nodes - 1) * more
    assert after.bytes_offline - before.bytes_offline == (nodes - 1) * 8 * (words * bits + d)
    if nodes == 2:
        assert (after.bytes_online - n) / d <= 20


@pytest.mark.parametrize("nodes", [2, 3])
def test_the_median_costs_what_the_page_says(nodes: int) -> None:
    """docs/protocol.md: "What a median costs", against counters of real processes."""
    n, d, bits = 6, 9000, 18
    words = -(-d // 64)
    rule = dataclasses.replace(build_rule("median"), max_abs=2.0)
    x = torch.randn(n, d, generator=torch.Generator().manual_seed(0)).clamp(-1.9, 1.9)
    network = Network(latency_ms=0.0)  # ripple and radix
    with secure_fl.open_backend("mpc", nodes=nodes, network=network) as backend:
        cost = secure_fl.aggregate(x, rule, backend).cost
    ands, layers = counted("order", [(bits, n, words)], {"ranks": [2, 3], "method": "radix"})
    adds, carries = (nodes - 1) * n * bits, (nodes - 1) * bits
    sent = 8 * words * (bits * n + adds + ands) + 8 * d + 96
    assert cost.bytes_online == (nodes - 1) * sent
    assert cost.rounds == 1 + carries + layers + 3
    # The dealer: one word an AND, one ring element for each bit of the two order statistics.
    assert cost.bytes_offline == 8 * words * (adds + ands) + 8 * 2 * bits * d


def test_pairs_are_compared_only_where_a_block_holds_them() -> None:
    """However slow the link: a thousand values have half a million pairs."""
    slow = Network(latency_ms=1e6)
    for n, method in ((100, "pairwise"), (1000, "radix")):
        assert cheapest(slow, 2, "order", [(32, n, 1)], {"ranks": [0]}) == {"method": method}


def test_ranks_are_selected_in_groups_that_a_block_holds() -> None:
    ranks = list(range(1000))
    groups = rank_groups((32, 1000, 1), ranks)
    assert [rank for group in groups for rank in group] == ranks
    for group in (groups[0], groups[-1]):
        ands, _ = counted("order", [(32, 1000, 1)], {"ranks": group, "method": "radix"})
        assert 24 * ands <= BLOCK_BYTES
    assert rank_groups((18, 20, 4), [9, 10]) == [[9, 10]]


@pytest.mark.parametrize("nodes", [2, 3])
def test_clipping_and_a_mean_cost_what_the_page_says(nodes: int) -> None:
    """docs/protocol.md: "combined by shared weights"; what is added by further coordinates."""
    n, bits, drop, sizes = 20, 18, 16, (1280, 2560)
    rule = dataclasses.replace(build_rule("clipped_mean"), max_abs=2.0)
    network = Network(latency_ms=0.0)  # ripple
    with secure_fl.open_backend("mpc", nodes=nodes, network=network) as backend:
        small, large = (
            secure_fl.aggregate(torch.full((n, d), 0.5), rule, backend).cost for d in sizes
        )
    d = sizes[1] - sizes[0]
    words = d // 64
    adds, floors = (nodes - 1) * n * bits, (nodes - 1) * drop
    sent = 8 * words * (bits * n + adds + drop + floors) + 8 * n * d + 8 * d
    assert large.bytes_online - small.bytes_online == (nodes - 1) * sent
    # The dealer: an AND, a carry out of the top, the combination, the carries rounded down.
    carries = (nodes - 1) * (n + 1)
    dealt = 8 * words * (adds + floors) + 8 * d * (carries + 1)
    assert large.bytes_offline - small.bytes_offline == dealt
    if nodes == 2:
        assert sent / d == 262
