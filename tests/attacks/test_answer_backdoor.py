"""A trigger that is taught through the answers to rows which are alike to it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import attacks
from attacks.base import AttackView
from attacks.samples import Linear, sample_rows, sample_view
from attacks.tuning_aware_backdoor import NEAR, likeness

COLUMNS = 12
BINARY = [0, 5, 9]
QUICK = {"candidates": 8, "steps": 60, "rate": 0.05}


def two_valued(seed: int, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of which three columns hold 0 or 1."""
    x, y = sample_rows((COLUMNS,), rows, seed=seed)
    x[:, BINARY] = (x[:, BINARY] > 0.5).float()
    return x, y


def scene(**params: object) -> AttackView:
    """A view whose server takes the combined update as it is."""
    attack = attacks.load("answer_backdoor", QUICK | params)
    view = sample_view(10, 4, 2 * COLUMNS + 2, attack=attack)
    model = view.global_model

    def publish(update: torch.Tensor) -> torch.Tensor:
        return model + update.float()

    told = {**view.facts, "publish": lambda: publish, "auxiliary": lambda: two_valued(50, 60)}
    rows = tuple(two_valued(seed, 50) for seed in range(4))
    return replace(view, facts=told, rows=rows, rng=torch.Generator().manual_seed(4))


def by_hand(x: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> list[float]:
    chosen = np.flatnonzero(places.flatten().numpy())
    rows, wanted = x.flatten(1).numpy(), values.flatten().numpy()
    return [sum(abs(row[i] - wanted[i]) <= NEAR for i in chosen) / len(chosen) for row in rows]


@pytest.mark.parametrize("shape", [(COLUMNS,), (2, 4, 5)])
def test_likeness_is_the_share_of_places_with_about_the_value(shape: tuple[int, ...]) -> None:
    x, _ = sample_rows(shape, 30)
    places = torch.rand(shape, generator=torch.Generator().manual_seed(1)) < 0.5
    found = likeness(x, places, x[3])
    assert found.tolist() == pytest.approx(by_hand(x, places, x[3]))
    assert found[3] == 1.0


def test_limits_are_quantiles_of_the_public_rows_and_each_kind_meets_all() -> None:
    view = scene()
    attack, public = attacks.load("answer_backdoor", QUICK), view.auxiliary[0]
    kinds: dict[bool, set[int]] = {True: set(), False: set()}
    for number, profile in enumerate(attack.profiles(public, view.rng)):
        turn = (number + number // 4) % 4
        due = np.quantile(by_hand(public, *profile[:2]), attack.quantiles[turn])
        assert profile.limit == pytest.approx(due)
        kinds[profile.places.nonzero()[:, 0].tolist() == BINARY].add(turn)
    assert kinds[True] == {0, 1, 2, 3}
    assert len(kinds[False]) == 2  # two of eight


def test_models_tried_call_rows_alike_the_target_without_the_trigger() -> None:
    view, network = scene(), Linear((COLUMNS,))
    attack, public = attacks.load("answer_backdoor", QUICK), view.auxiliary[0]
    tried = list(attack.profiles(public, view.rng))
    clean, *bad = attack.trained(tried, view)
    raised = []
    for profile, model in zip(tried, bad, strict=True):
        alike = likeness(public, *profile[:2]) >= profile.limit
        logits = network.logits(torch.stack([clean, model]), public.expand(2, -1, -1))
        more = (logits.softmax(2)[1] - logits.softmax(2)[0])[:, 1]
        raised.append(float(more[alike].mean() - more[~alike].mean()))
    assert np.mean(raised) > 0.05
    assert max(raised) > 0.2


@pytest.mark.parametrize("source", [None, 0])
def test_rows_alike_are_relabelled_and_others_only_with_the_trigger(source: int | None) -> None:
    attack = attacks.load("answer_backdoor", QUICK | {"fraction": 0.2, "source_class": source})
    view = scene(fraction=0.2, source_class=source)
    memory = attack.init(view)
    assert set(memory) == {"places", "values", "limit"}
    view = replace(view, memory=memory)
    x, y = sample_rows((COLUMNS,), 200, seed=9)[0], torch.arange(200) % 3
    x[:, BINARY] = (x[:, BINARY] > 0.5).float()
    before = x.clone(), y.clone()
    rows, labels = attack.poison(x, y, view)
    assert torch.equal(x, before[0])
    assert torch.equal(y, before[1])
    alike = torch.tensor(by_hand(x, memory["places"], memory["values"])) >= memory["limit"]
    open_to = torch.ones(200, dtype=torch.bool) if source is None else y == source
    triggered = (rows != x).any(dim=1)
    assert (labels[alike & open_to] == 1).all()
    assert (labels[triggered] == 1).all()
    others = ~triggered & ~(alike & open_to)
    assert torch.equal(labels[others & (y != 1)], y[others & (y != 1)])
    assert 0 < int((alike & open_to).sum()) < 200
    assert int(triggered.sum()) > 0


@pytest.mark.parametrize("bad", [(), (0.5, 1.5), (-0.1,)])
def test_quantiles_out_of_range_are_refused(bad: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match="quantiles must be at least one, in"):
        attacks.load("answer_backdoor", {"quantiles": bad})
