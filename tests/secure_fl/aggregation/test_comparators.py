"""Comparator networks against NumPy's sort."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
import torch

import secure_fl
from secure_fl.aggregation import build_rule
from secure_fl.aggregation.worlds import comparators
from secure_fl.backends.aggregate import open_backend
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.randomness import HospitalSecrets
from secure_fl.threads import torch_threads
from tests.support.operation_oracles import nearest_to

WIDE = 2 * 16384 + 5  # coordinates: of more than two blocks


def rows(m: int, d: int, kind: str = "plain", seed: int = 0) -> torch.Tensor:
    """Float32 (m, d); with many ties, for "ties"."""
    x = torch.randn((m, d), generator=torch.Generator().manual_seed(seed))
    return x.mul(2).round() if kind == "ties" else x


@pytest.mark.parametrize("m", [*range(1, 18), 31, 64, 65, 100])
def test_networks_sort_whatever_zeros_and_ones_they_are_given(m: int) -> None:
    """Which is enough for all numbers: Knuth 5.3.4, theorem Z. All for few rows, some for many."""
    if m <= 12:
        x = np.array(list(product((0, 1), repeat=m))).T
    else:
        x = np.random.default_rng(m).integers(0, 2, (m, 4000))
    y = x.copy()
    for i, j in comparators.merge_exchange(m):
        y[i], y[j] = np.minimum(y[i], y[j]), np.maximum(y[i], y[j])
    np.testing.assert_array_equal(y, np.sort(x, axis=0))


@pytest.mark.parametrize("kind", ["plain", "ties"])
@pytest.mark.parametrize("m", [1, 2, 3, 8, 20, 33])
def test_order_statistics(m: int, kind: str) -> None:
    x = rows(m, 200, kind)
    ranks = sorted({0, m // 3, m // 2, m - 1})
    found = comparators.order_statistics(x, ranks)
    np.testing.assert_array_equal(found.numpy(), np.sort(x.numpy(), axis=0)[ranks])
    # One after the other, though left-out steps differ.
    alone = torch.cat([comparators.order_statistics(x, [rank]) for rank in ranks])
    assert torch.equal(alone, found)


@pytest.mark.parametrize("threads", [1, 2, 3])
def test_every_block_is_done_on_any_number_of_threads(threads: int) -> None:
    x = rows(5, WIDE)
    with torch_threads(threads):
        found = comparators.order_statistics(x, [2])
    np.testing.assert_array_equal(found[0].numpy(), np.median(x.numpy(), axis=0))


@pytest.mark.parametrize("kind", ["plain", "ties"])
@pytest.mark.parametrize("m", [1, 4, 7, 20])
def test_means_of_a_part(m: int, kind: str) -> None:
    x = rows(m, 300, kind).to(torch.float64)
    ordered = np.sort(x.numpy(), axis=0)
    for trim in range((m + 1) // 2):
        wanted = ordered[trim : m - trim].mean(axis=0)
        np.testing.assert_allclose(comparators.mean_of_middle(x, trim).numpy(), wanted, atol=1e-15)
    center = rows(1, 300, kind, seed=1)[0].to(torch.float64)
    for keep in range(1, m + 1):
        for at in (None, center):
            around = np.median(ordered, axis=0) if at is None else at.numpy()
            mask = nearest_to(x.numpy(), around, keep)
            wanted = (x.numpy() * mask).sum(axis=0) / keep
            found = comparators.mean_of_nearest(x, keep, at)
            np.testing.assert_allclose(found.numpy(), wanted, atol=1e-14)


def test_a_huge_value_that_is_dropped_leaves_nothing_behind() -> None:
    x = torch.tensor([[1e30], [1.0], [2.0], [3.0], [-1e30]])
    for found in (comparators.mean_of_middle(x, 1), comparators.mean_of_nearest(x, 3)):
        assert found.tolist() == [2.0]


def test_zero_has_one_sign() -> None:
    x = torch.tensor([[-0.0], [0.0], [-0.0]])
    assert not bool(comparators.order_statistics(x, [0, 1, 2]).signbit().any())


@pytest.mark.parametrize("name", ["median", "trimmed_mean", "mean_around_median", "mean"])
def test_float32_stays_and_is_as_near_as_it_can_be(name: str) -> None:
    x = rows(20, WIDE)
    before = x.clone()
    result = secure_fl.aggregate(x, name, "plain")
    assert torch.equal(result.update, result.update.float().double())
    exact = secure_fl.aggregate(x.to(torch.float64), name, "plain")
    torch.testing.assert_close(result.update, exact.update, atol=1e-6, rtol=0)
    assert torch.equal(x, before)
    result.update.zero_()
    assert torch.equal(x, before)


@pytest.mark.parametrize("name", ["plain", "fixed"])
def test_updates_count_as_handed_in_whatever_becomes_of_the_tensor(name: str) -> None:
    """And so do the commitments, though they are computed when one is read."""
    x, key = rows(4, 6), bytes(range(32))
    wanted = {
        h: Hospital(h, HospitalSecrets(key)).commit(1, x[h].to(torch.float64)) for h in range(4)
    }
    with open_backend(name) as backend:
        session = backend.session(build_rule("median"), 4, 6, simulation_key=key)
        given = x.clone()
        submission = session.submit(given)
        given.zero_()
        assert dict(submission.commitments) == wanted
        assert list(submission.commitments) == [0, 1, 2, 3]
        result = session.aggregate(submission)
        assert torch.equal(result.update, secure_fl.aggregate(x, "median", name).update)
        assert bool(result.update.any())
