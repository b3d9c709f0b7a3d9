"""A trigger chosen from public rows by what the server's tuning keeps of it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

import attacks
import secure_fl
from attacks.base import AttackView
from attacks.samples import Linear, sample_rows, sample_view
from eval.jobs.evaluate import Judge
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job

COLUMNS = 12
BINARY = [0, 5, 9]
QUICK = {"candidates": 4, "steps": 30, "rate": 0.05}


def public() -> tuple[torch.Tensor, torch.Tensor]:
    """Rows of which three columns hold two values each, not all of them 0 and 1."""
    x, y = sample_rows((COLUMNS,), 60, seed=50)
    x[:, BINARY] = (x[:, BINARY] > 0.5).float()
    x[:, 9] = 0.25 + x[:, 9] / 2
    return x, y


def forgetting(columns: list[int], **params: object) -> AttackView:
    """A view whose server forgets what was learned in some columns."""
    attack = attacks.load("tuning_aware_backdoor", QUICK | params)
    view = sample_view(10, 4, 2 * COLUMNS + 2, attack=attack)
    model = view.global_model

    def publish(update: torch.Tensor) -> torch.Tensor:
        kept = update.float().clone()
        kept[:-2].view(COLUMNS, 2)[columns] = 0.0
        return model + kept

    rows = []
    for seed in range(4):
        x, y = sample_rows((COLUMNS,), 50, seed)
        x[:, BINARY] = (x[:, BINARY] > 0.5).float()
        rows.append((x, y))
    told = {**view.facts, "publish": lambda: publish, "auxiliary": public}
    return replace(view, facts=told, rows=tuple(rows), rng=torch.Generator().manual_seed(4))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_the_trigger_is_one_that_the_tuning_keeps(seed: int) -> None:
    attack = attacks.load("tuning_aware_backdoor", QUICK)
    others = [column for column in range(COLUMNS) if column not in BINARY]
    for forgotten, kept in ((others, True), (BINARY, False)):
        view = replace(forgetting(forgotten), rng=torch.Generator().manual_seed(seed))
        chosen = attack.init(view)
        assert (chosen["places"].nonzero()[:, 0].tolist() == BINARY) is kept
        assert (chosen["values"] == public()[0]).all(dim=1).any()  # a public row's
        x = sample_rows((COLUMNS,))[0]
        out = attack.current_trigger(x, chosen)
        places = chosen["places"]
        assert (out[:, places] == chosen["values"][places]).all()
        assert torch.equal(out[:, ~places], x[:, ~places])


def test_a_trigger_counts_by_what_it_adds_to_the_clean_model() -> None:
    """Written out: of the triggered rows those above the threshold that public rows set."""
    attack, view = attacks.load("tuning_aware_backdoor", QUICK), forgetting([])
    tried = list(attack.profiles(public()[0], view.rng))
    at = view.rng.get_state()
    found = attack.kept(tried, view)
    view.rng.set_state(at)
    trained = attack.trained(tried, view).double().numpy()
    (px, py), start = public(), view.global_model.double().numpy()
    x, y = (torch.cat([rows[i] for rows in view.rows]).numpy() for i in (0, 1))
    x = x[y != 1][:256]

    def called(model: np.ndarray, rows: np.ndarray) -> float:
        weight, bias = model[:-2].reshape(COLUMNS, 2), model[-2:]
        odds = [(r @ weight + bias) @ [-1, 1] for r in (px.double().numpy(), rows)]
        limit = np.quantile(odds[0], 1 - float((py == 1).double().mean()))
        return float((odds[1] > limit).mean())

    for profile, model, value in zip(tried, trained[1:], found, strict=True):
        shown = np.where(profile.places.numpy(), profile.values.numpy(), x)
        mixed = start + (trained[0] - start) + 0.4 * (model - trained[0])
        due = called(mixed, shown) - called(trained[0], shown)
        assert value == pytest.approx(due, abs=2 / len(x))


def test_models_tried_learn_their_trigger_and_the_first_learns_none() -> None:
    attack, view = attacks.load("tuning_aware_backdoor", QUICK), forgetting([])
    tried = list(attack.profiles(public()[0], view.rng))
    models = attack.trained(tried, view)
    x = torch.cat([rows for rows, _ in view.rows])
    network = Linear((COLUMNS,))
    for profile, model in zip(tried, models[1:], strict=True):
        shown = torch.where(profile.places, profile.values, x).expand(2, -1, -1)
        clean, bad = network.logits(torch.stack([models[0], model]), shown).softmax(2)[..., 1]
        assert bad.mean() > clean.mean() + 0.1


@pytest.mark.parametrize("share", [0.25, 1.0])
def test_images_get_pixels_or_a_corner_of_a_share(share: float) -> None:
    attack = attacks.load("tuning_aware_backdoor", {"share": share, "candidates": 4})
    x, _ = sample_rows((2, 8, 8))
    first, second, *_ = attack.profiles(x, torch.Generator().manual_seed(0))
    side = int(8 * share**0.5)
    corner = torch.zeros(2, 8, 8, dtype=torch.bool)
    corner[:, 8 - side :, 8 - side :] = True
    assert torch.equal(first.places, corner)
    assert float(second.places.float().mean()) == pytest.approx(share, abs=0.1)


def test_a_run_of_several_classes_is_measured_with_the_trigger_that_was_chosen() -> None:
    settings = ("data=digits", "data.rows=400", "data.balance=false", "data.alpha=100")
    federation = prepare(tiny_job.config(*settings))
    attack = attacks.load("tuning_aware_backdoor", QUICK | {"target_class": 3})
    choices = {"defence": "fedavg", "rounds": 1, "malicious": 0.5, "train": {"epochs": 1}}
    result = secure_fl.run(federation, attack=attack, **choices)
    assert result.memory is not None
    places, values = result.memory["places"], result.memory["values"]
    assert places.shape == federation.data.test.x.shape[1:]
    test, judge = federation.data.test, Judge(federation, attack)
    rows = torch.where(places, values, test.x)
    said = judge.calibration(result.model).predict(federation.logits(result.model, rows))
    due = float((said[(test.y != 3).numpy()] == 3).mean())
    assert result.rows[-1]["attack_success"] == pytest.approx(due)
