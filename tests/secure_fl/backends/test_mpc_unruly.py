"""Nodes hold stages to what they declare: nothing else leaves, and no answer is given."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch

import secure_fl
from secure_fl.aggregation import Pipeline, build_rule
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Backend
from secure_fl.errors import InputError
from tests.support.unruly import WAYS, unruly

X = 0.1 * torch.arange(15.0).reshape(5, 3)


@pytest.fixture(scope="module")
def nodes() -> Iterator[Backend]:
    stage = "tests.support.unruly:unruly"
    with open_backend("mpc", nodes=2, timeout=60, allow=(stage,)) as backend:
        yield backend


@pytest.mark.parametrize("way", sorted(WAYS))
def test_a_stage_is_held_to_its_word_by_the_nodes(nodes: Backend, way: str) -> None:
    with pytest.raises(InputError, match=WAYS[way][2]):
        secure_fl.aggregate(X, Pipeline((unruly(way),), 2.0), nodes)
    median = secure_fl.aggregate(X, build_rule("median"), nodes)  # the nodes go on
    assert torch.equal(median.update, secure_fl.aggregate(X, "median", "fixed").update)
