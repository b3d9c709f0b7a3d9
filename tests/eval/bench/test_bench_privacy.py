"""Attacks on what is opened: cases whose answer is known, and the table of `secure-fl privacy`."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from attacks import privacy
from attacks.privacy import Opened
from attacks.privacy.gradient_inversion import ratios
from eval.bench.privacy import UPDATE, Protection, leaks, privacy_table
from eval.metrics.privacy import reconstruction_error, true_positives_at
from eval.metrics.quality import auc
from secure_fl.data import Split
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job


def stepped(model: Model, rows: int) -> tuple[Opened, torch.Tensor]:
    """What a full step of SGD on made-up rows opens, and the rows."""
    rng = torch.Generator().manual_seed(3)
    start, x = model.init(rng), torch.rand(rows, *model.feature_shape, generator=rng)
    y = torch.arange(rows) % model.classes
    weight = torch.full((1, rows), 1 / rows)
    slope = model.gradients(start.unsqueeze(0), x.unsqueeze(0), y.unsqueeze(0), weight)[0]
    return Opened(model, start, -0.1 * slope, torch.Generator().manual_seed(4)), x


def test_one_row_of_one_step_is_recovered_exactly() -> None:
    opened, x = stepped(MLP((9,), 2, [6]), 1)
    for steps in (0, 5):
        attack = privacy.load("gradient_inversion", {"steps": steps})
        found = attack.reconstruct(opened, 1)
        torch.testing.assert_close(found, x, rtol=0, atol=1e-5)


def test_a_units_ratio_is_the_mean_of_the_rows_that_it_sees() -> None:
    """By hand: unit j sees row i with weight e_ij, and says sum(e_ij x_i) / sum(e_ij)."""
    model = MLP((3,), 2, [2])
    x, e = np.array([[0.2, 0.4, 0.6], [0.8, 0.1, 0.3]]), np.array([[1.0, 0.0], [0.5, 2.0]])
    change = torch.zeros(model.num_parameters)
    change[:6] = torch.from_numpy((x.T @ e).ravel())
    change[6:8] = torch.from_numpy(e.sum(axis=0))
    found = ratios(model, change).numpy()
    np.testing.assert_allclose(found, [x[1], (x[0] + x[1] / 2) / 1.5], atol=1e-6)
    assert len(ratios(CNN((1, 4, 4), 2, (2, 2), 4), torch.ones(200))) == 0


def test_the_search_comes_near_where_no_layer_betrays_a_row() -> None:
    opened, x = stepped(CNN((1, 8, 8), 2, (16, 32), 64), 1)
    before, after = (
        privacy.load("gradient_inversion", {"steps": steps, "rate": 0.05}).reconstruct(
            replace(opened, rng=torch.Generator().manual_seed(4)), 1
        )
        for steps in (0, 100)
    )
    guess = np.full((1, 8, 8), 0.5)
    assert reconstruction_error(before, x, guess) > 1
    assert reconstruction_error(after, x, guess) < 0.2


def test_members_of_an_overfit_model_are_told_and_of_another_are_not() -> None:
    rng = torch.Generator().manual_seed(0)
    model = MLP((8,), 6, [32])
    x, y = torch.rand(120, 8, generator=rng), torch.randint(6, (120,), generator=rng)
    start = model.init(rng)
    options = TrainOptions(epochs=150, batch_size=30, lr=0.02)
    (change,) = train(model, start, [Split(x[:60], y[:60])], options, [0])
    truth = (torch.arange(120) < 60).long()
    for calibrated in (False, True):
        attack = privacy.load("membership_inference", {"calibrated": calibrated})
        opened = Opened(model, start, change, rng)
        assert auc(truth, attack.scores(opened, x, y)) > 0.85
    neither = Opened(model, start, torch.zeros_like(change), rng)
    plain = privacy.load("membership_inference")
    assert auc(truth, plain.scores(neither, x, y)) == pytest.approx(0.5, abs=0.1)


def test_a_calibrated_score_is_the_loss_that_was_lost() -> None:
    model = MLP((2,), 2, [])
    start = torch.zeros(model.num_parameters)
    change = torch.tensor([0.0, 0.0, 0.0, 0.0, 0.0, 1.0])
    x, y = torch.rand(2, 2), torch.tensor([1, 0])
    attack = privacy.load("membership_inference", {"calibrated": True})
    found = attack.scores(Opened(model, start, change, torch.Generator()), x, y)
    due = [np.log(2) - np.log1p(np.exp(-1)), np.log(2) - np.log1p(np.exp(1))]
    np.testing.assert_allclose(found, due, atol=1e-6)


def test_measures_by_hand() -> None:
    real = np.array([[0.0, 0.0], [1.0, 1.0]])
    guess = np.array([0.5, 0.5])
    assert reconstruction_error(real[::-1], real, guess) == 0
    assert reconstruction_error(np.array([guess, guess, [9, 9]]), real, guess) == 1
    assert reconstruction_error(np.array([[1, 1], [0, 1]]), real, guess) == 1.0
    others = np.arange(100.0)
    assert true_positives_at([98.5, 99.5, 97.5, 3], others, 0.01) == 0.5
    assert true_positives_at([98.5, 99.5, 97.5, 3], others, 0.0) == 0.25


def test_bad_parameters_are_refused_by_name() -> None:
    assert privacy.names() == ["gradient_inversion", "membership_inference"]
    with pytest.raises(ValueError, match="must be one of gradient_inversion"):
        privacy.load("inversion")
    for name, value in (("steps", -1), ("rate", 0.0), ("stepz", 1), ("rate", "fast")):
        with pytest.raises(ValueError, match=name):
            privacy.load("gradient_inversion", {name: value})
    with pytest.raises(TypeError, match="frozen dataclass"):
        privacy.privacy_attack(type("Loose", (privacy.PrivacyAttack,), {}))


def test_noise_hides_what_a_clip_alone_does_not() -> None:
    config = tiny_job.config()
    federation = prepare(config)
    inversion = privacy.load("gradient_inversion", {"steps": 2})
    protections = (
        Protection("none"),
        Protection("clip", 0.5),
        Protection("noise", 0.5, 0.2),
    )
    one, two = (
        leaks(federation, config.train, 1, protections=protections, inversion=inversion)
        for _ in range(2)
    )
    assert one == two
    assert len(one) == 9
    error = {leak.protection: leak.error for leak in one if leak.opened == UPDATE}
    assert error["none"] < 1e-6
    assert error["clip"] < 1e-6
    assert error["noise"] > 0.5
    assert all(0 <= each <= 1 for leak in one for each in leak[3:])
    assert privacy_table(one).row_count == 9
