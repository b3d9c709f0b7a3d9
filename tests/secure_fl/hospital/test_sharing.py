"""What a hospital refuses to encode, and shares, against the same in NumPy or whole numbers."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from ledger.protocol.merkle import merkle_root, share_digest
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.sharing import all_within, lost_to_rounding, refusal, split_integers
from secure_fl.mpc.prg import Stream

STEP = 2.0**-16


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_a_number_that_is_none_is_refused(value: float) -> None:
    said = refusal(torch.tensor([0.0, value], dtype=torch.float64), 2.0)
    assert said == "every coordinate must be a finite number"


@pytest.mark.parametrize("sign", [1.0, -1.0])
def test_the_range_ends_half_a_step_below_its_limit(sign: float) -> None:
    """There a coordinate would be rounded to the limit, which the width does not hold."""
    inside = torch.tensor([0.0, sign * (2.0 - 0.75 * STEP)], dtype=torch.float64)
    outside = torch.tensor([0.0, sign * (2.0 - 0.5 * STEP)], dtype=torch.float64)
    assert refusal(inside, 2.0) is None
    assert refusal(outside, 2.0) == "every coordinate must be in (-2, 2)"
    assert all_within(torch.stack([inside, inside]), 2.0)
    assert not all_within(torch.stack([inside, outside]), 2.0)


def test_rounding_may_change_an_update_by_a_share_of_its_length() -> None:
    rng = np.random.default_rng(5)
    outcomes = set()
    for scale in 2.0 ** np.arange(-6, 7):
        for d in (1, 3, 200):
            row = rng.normal(size=d) * scale * STEP
            steps = row / STEP
            change = np.linalg.norm(steps - np.round(steps)) / np.linalg.norm(steps)
            lost = bool(change > 0.25)
            said = lost_to_rounding(torch.from_numpy(row))
            assert (said is not None) == lost, (scale, d)
            outcomes.add(lost)
            assert said is None or "must change it by at most 25% of its length" in said
    assert outcomes == {True, False}
    assert lost_to_rounding(torch.zeros(3)) is None
    assert lost_to_rounding(torch.tensor([5e-324], dtype=torch.float64)) is not None


@pytest.mark.parametrize("bits", [18, 64])
@pytest.mark.parametrize("nodes", [2, 3])
def test_shares_have_the_width_and_add_up(bits: int, nodes: int) -> None:
    integers = torch.tensor([0, 1, -1, 2**16, -(2**17)], dtype=torch.int64)
    shares = split_integers(integers, bits, nodes, Stream(b"k" * 16))
    assert len(shares) == nodes
    assert all(int(word) < 2**bits for share in shares for word in share)
    for place, integer in enumerate(integers.tolist()):
        assert (sum(int(share[place]) for share in shares) - integer) % 2**bits == 0
    drawn = Stream(b"k" * 16)
    for share in shares[:-1]:  # the key's words alone, whatever the update
        assert [int(w) for w in share] == [int(w) % 2**bits for w in drawn.words((5,))]


def test_in_the_clear_a_hospital_commits_to_all_of_its_update() -> None:
    """A tree of one leaf: the digest of the update in steps, 64 bits each, under a salt."""
    salts = []

    class Watched(Hospital):
        def _commit(self, *args: object) -> object:
            handed = super()._commit(*args)
            salts.append(handed.salts)
            return handed

    row = torch.tensor([0.5, -1.25], dtype=torch.float64)
    root = Watched(0).commit(1, row)
    words = np.array([2**15, -5 * 2**14], dtype=np.int64)
    ((salt,),) = salts
    assert root == merkle_root([share_digest(salt, words.astype("<u8").tobytes())])
