"""What node 0, who alone speaks to the dealer, can get out of it."""

from __future__ import annotations

import os
from typing import Any

import numpy as np
import pytest

from secure_fl.mpc.correlations import Dealer, NodeSource
from secure_fl.mpc.prg import KEY_BYTES, Stream

COUNT = 200
# Requests that honest nodes never make: what they correct is known beforehand, so that the answers
# are the other nodes' words in the clear.
NOTHING = {"kind": "mask", "number": 0, "shape": [COUNT, 0]}
EMPTY = {"kind": "mask", "number": 0, "shape": [0, COUNT]}
LIES: dict[str, list[dict[str, Any]]] = {
    "norms": [NOTHING, {"kind": "norms", "number": 0}],
    "gram": [{**NOTHING, "shape": [20, 0]}, {"kind": "gram", "number": 0}],
    "row_dot": [NOTHING, {"kind": "row_dot", "number": 0}],
    "combine": [NOTHING, {"kind": "combine", "number": 0, "count": 20}],
    "nothing asked": [],
    "row_scale": [
        EMPTY,
        {"kind": "row_scale", "number": 0},
        NOTHING,
        {"kind": "norms", "number": 0},
    ],
}


@pytest.mark.parametrize("lie", LIES)
@pytest.mark.parametrize("nodes", [2, 3])
def test_a_request_of_its_own_tells_a_node_nothing_of_the_others_words(
    nodes: int, lie: str
) -> None:
    """Whatever node 0 asks for first: no correction is a word that the others use afterwards."""
    keys, corrections = [os.urandom(KEY_BYTES) for _ in range(nodes)], []
    dealer = Dealer([Stream(key) for key in keys], lambda value: corrections.append(value.ravel()))
    for request in LIES[lie]:
        dealer.answer(request)
    others = [NodeSource(Stream(key), None) for key in keys[1:]]
    # What the others draw next, step by step: a list for each step, a word array for each node.
    steps = [
        [source.input((COUNT,), nodes)[1].view(np.int64) for source in others],
        [source.mask((COUNT, 2))[1].ravel() for source in others],
        [source.products(COUNT).a for source in others],
    ]
    used = [words for step in steps for words in (*step, np.sum(step, axis=0))]
    told = np.concatenate([*corrections, np.zeros(0, np.int64)])
    for words in used:
        assert not np.isin(told, words).any()
        assert not np.isin(-told, words).any()


def test_the_same_requests_give_products_that_add_up() -> None:
    """The counterpart: asked what the nodes ask, the dealer corrects what they draw."""
    keys, corrections = [os.urandom(KEY_BYTES) for _ in range(3)], []
    dealer = Dealer([Stream(key) for key in keys], corrections.append)
    sources = [NodeSource(Stream(key), None) for key in keys]
    dealer.answer({"kind": "mask", "number": 0, "shape": [3, 4]})
    dealer.answer({"kind": "products", "count": COUNT})
    for source in sources:
        source.mask((3, 4))
    shares = [source.products(COUNT) for source in sources]
    a = np.sum([share.a for share in shares], axis=0)
    b = np.sum([share.b for share in shares], axis=0)
    others = np.sum([share.c for share in shares[1:]], axis=0)
    assert np.array_equal(corrections[0] + others, a * b)
