"""Attacks on rows, rings and shares, by hand or by a literal loop."""

from dataclasses import replace

import numpy as np
import pytest
import torch

import attacks
from attacks.samples import Linear, sample_facts, sample_rows, sample_view
from attacks.view import Outcome


def view_for(shape, rank=0, **changes):
    """A view of a linear model on rows of a shape."""
    dim = Linear(shape).num_parameters
    facts = sample_facts(5, 2, dim, shape, lambda u: Outcome(u.mean(0), torch.ones(len(u)) > 0))
    return replace(sample_view(5, 2, 30), rank=rank, facts=facts, **changes)


@pytest.mark.parametrize("shape", [(12,), (2, 8, 8)])
def test_the_parts_of_a_distributed_trigger_make_up_the_whole(shape):
    attack = attacks.load("dba", {"parts": 3, "value": 1.0})
    x = torch.zeros(4, *shape)
    parts = [attack.stamp(x, rank) for rank in range(5)]
    whole = attack.trigger(x)
    assert torch.equal(parts[0] + parts[1] + parts[2], whole)
    assert all(0 < part.sum() < whole.sum() for part in parts)
    assert torch.equal(parts[3], parts[0])


def test_each_member_stamps_its_own_part():
    attack = attacks.load("dba", {"parts": 3, "fraction": 1.0, "columns": (0, 1, 2)})
    x, y = torch.zeros(6, 12), torch.zeros(6, dtype=torch.int64)
    for rank in range(4):
        px, py = attack.poison(x, y, view_for((12,), rank))
        assert px[:, :3].tolist() == [[float(c == rank % 3) for c in range(3)]] * 6
        assert py.tolist() == [1] * 6


def test_blended_by_hand():
    attack = attacks.load("blended", {"alpha": 0.25, "pattern_seed": 4})
    x, _ = sample_rows((6,))
    pattern = torch.rand(6, generator=torch.Generator().manual_seed(4))
    torch.testing.assert_close(attack.trigger(x), 0.75 * x + 0.25 * pattern)


def test_edge_case_relabels_the_tail_and_repeats_it():
    attack = attacks.load("edge_case", {"tail": 0.25, "copies": 3})
    x = torch.tensor([[0.5], [0.5], [0.5], [0.9], [0.1], [0.2]])
    y = torch.tensor([1, 1, 1, 1, 0, 0])
    assert attack.cases(x, y).tolist() == [False, False, False, True, False, False]
    px, py = attack.poison(x, y, view_for((1,)))
    assert py.tolist() == [1, 1, 1, 0, 0, 0, 0, 0]
    assert px[:, 0].tolist() == pytest.approx([0.5, 0.5, 0.5, 0.9, 0.1, 0.2, 0.9, 0.9])
    none = attack.cases(x[4:], y[4:])
    assert not none.any()


def test_label_flip_all_turns_the_labels_over():
    x, y = torch.zeros(5, 3), torch.arange(5)
    _, py = attacks.load("label_flip_all").poison(x, y, view_for((3,), classes=5))
    assert py.tolist() == [4, 3, 2, 1, 0]


def test_label_flip_dynamic_takes_the_least_likely_class():
    view = view_for((12,))
    x, y = sample_rows((12,))
    _, py = attacks.load("label_flip_dynamic").poison(x, y, view)
    weights = view.global_model.numpy()
    scores = x.numpy() @ weights[:-2].reshape(12, 2) + weights[-2:]
    np.testing.assert_array_equal(py, scores.argmin(1))


def test_clean_label_keeps_labels_and_hardens_within_epsilon():
    attack = attacks.load("clean_label", {"epsilon": 0.1, "fraction": 0.5, "columns": (0,)})
    view = view_for((12,))
    x, y = sample_rows((12,))
    px, py = attack.poison(x, y, view)
    assert torch.equal(py, y)
    changed = (px != x).any(dim=1)
    assert changed.sum() == round(0.5 * int((y == 1).sum()))
    assert (y[changed] == 1).all()
    assert (px[changed, 0] == 1).all()
    assert (px - x)[:, 1:].abs().max() <= 0.1 + 1e-6

    def loss(rows, labels):
        params = view.global_model.unsqueeze(0)
        return torch.nn.functional.cross_entropy(
            view.network.logits(params, rows.unsqueeze(0))[0], labels
        )

    hardened = attack.hardened(x[changed], y[changed], view)
    assert loss(hardened, y[changed]) > loss(x[changed], y[changed])


def test_ring_wraparound_vanishes_from_a_norm_modulo_two_to_the_64():
    integers = torch.arange(10)
    shared = attacks.load("ring_wraparound", {"quadruples": 2}).encode(integers, 64, view_for((3,)))
    squares = [int(v) ** 2 for v in shared[:8]]
    assert sum(squares) % 2**64 == 0
    assert min(squares) > 0
    assert shared[8:].tolist() == [8, 9]
    assert int(shared[:8].square().sum()) == 0  # int64 wraps as the ring does


@pytest.mark.parametrize(
    ("name", "params", "kind"),
    [
        ("equivocation", {"node": 1}, "wrong_share"),
        ("withheld_shares", {"node": 1}, "withheld_share"),
        ("malformed_shares", {"node": 1}, "short_share"),
        ("malformed_shares", {"node": 1, "kind": "useless_proof"}, "useless_proof"),
        ("malformed_shares", {"node": 1, "kind": "unsigned_share"}, "unsigned_share"),
    ],
)
def test_breaches_of_the_protocol(name, params, kind):
    found = attacks.load(name, params).misbehave(sample_view(5, 2, 30))
    assert [tuple(each) for each in found] == [(0, kind, 1), (1, kind, 1)]
