"""Independent streams from one seed."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from secure_fl import seeds

SEEDS, PURPOSES = st.integers(0, 2**63 - 1), st.sampled_from(seeds.PURPOSES)


@given(seed=SEEDS, purpose=PURPOSES, index=st.lists(st.integers(0, 10_000), max_size=3))
def test_the_same_branch_gives_the_same_numbers(seed: int, purpose: str, index: list[int]) -> None:
    one, two = (seeds.torch_generator(seed, purpose, *index) for _ in range(2))
    assert torch.equal(torch.rand(3, generator=one), torch.rand(3, generator=two))
    a, b = (seeds.numpy_generator(seed, purpose, *index) for _ in range(2))
    assert (a.random(3) == b.random(3)).all()
    assert 0 <= seeds.integer(seed, purpose, *index) < 2**63


def test_branches_do_not_meet() -> None:
    drawn = {
        seeds.integer(seed, purpose, *index)
        for seed in (0, 1, 2)
        for purpose in seeds.PURPOSES
        for index in ((), (0,), (1,), (0, 0), (0, 1), (1, 0))
    }
    assert len(drawn) == 3 * len(seeds.PURPOSES) * 6


def test_branches_follow_numpys_rule() -> None:
    want = np.random.SeedSequence(7, spawn_key=(seeds.PURPOSES.index("noise"), 3))
    assert (
        seeds.sequence(7, "noise", 3).generate_state(4).tolist() == want.generate_state(4).tolist()
    )


def test_positions_of_purposes_are_part_of_the_seed() -> None:
    """Reordering them would change every recorded run."""
    assert seeds.PURPOSES[:6] == (
        "partition",
        "balance",
        "model",
        "malicious",
        "training",
        "poison",
    )
    with pytest.raises(ValueError, match="not in tuple"):
        seeds.sequence(0, "nope")
