"""Attacks on what is opened: cases whose answer is known, and the table of `secure-fl privacy`."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score, roc_curve

from attacks import privacy
from attacks.privacy import Opened, Shadows
from attacks.privacy.gradient_inversion import first_labels, ratios
from eval.bench import privacy as bench
from eval.bench.privacy import UPDATE, Plan, Protection, budgets, federations, leaks
from eval.bench.privacy_figure import layers
from eval.bench.privacy_table import HEADS, from_records, markdown, privacy_table, records
from eval.cli import main as cli
from eval.metrics.privacy import median_error, row_errors, told
from eval.metrics.quality import auc
from secure_fl.data import Split
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models.cnn import CNN
from secure_fl.models.mlp import MLP
from secure_fl.models.model import Model
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job


def stepped(model: Model, rows: int, label: int = 0) -> tuple[Opened, torch.Tensor]:
    """What a full step of SGD on made-up rows opens, and the rows."""
    rng = torch.Generator().manual_seed(3)
    start, x = model.init(rng), torch.rand(rows, *model.feature_shape, generator=rng)
    y = (label + torch.arange(rows)) % model.classes
    weight = torch.full((1, rows), 1 / rows)
    slope = model.gradients(start.unsqueeze(0), x.unsqueeze(0), y.unsqueeze(0), weight)[0]
    return Opened(model, start, -0.1 * slope, torch.Generator().manual_seed(4)), x


@pytest.mark.parametrize("label", [0, 1])
@pytest.mark.parametrize("steps", [0, 60])
def test_one_row_of_one_step_is_recovered_exactly(label: int, steps: int) -> None:
    """A search that starts from the wrong label would turn away from the row that it begins at."""
    opened, x = stepped(MLP((9,), 2, [6]), 1, label)
    assert first_labels(opened.network, opened.change, 1).argmax() == label
    assert not first_labels(opened.network, opened.change, 2).any()
    found = privacy.load("gradient_inversion", {"steps": steps}).reconstruct(opened, 1)
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
    assert row_errors(before, x, guess) > 1
    assert row_errors(after, x, guess) < 0.2


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


def test_a_likelihood_ratio_is_the_distance_from_the_shadows_without_the_row() -> None:
    """By hand: a bias b gives label 1 the log-odds b, and label 0 -b; three shadows, two rows."""
    model = MLP((1,), 2, [])
    start = torch.zeros(model.num_parameters)

    def shifted(bias: float) -> torch.Tensor:
        return torch.tensor([0.0, 0.0, 0.0, bias])

    held = torch.tensor([[True, False], [False, False], [False, True], [True, True]])
    shadows = Shadows(torch.stack([shifted(b) for b in (9.0, 1.0, 2.0, 7.0)]), held)
    opened = Opened(model, start, shifted(4.0), torch.Generator(), shadows)
    attack = privacy.load("likelihood_ratio")
    found = attack.scores(opened, torch.rand(2, 1), torch.tensor([1, 0]))
    # Row 0 is without shadows 1 and 2, row 1 without 0 and 1; one variance over both rows.
    spread = np.sqrt((0.5**2 + 0.5**2 + 4**2 + 4**2) / 2)
    np.testing.assert_allclose(found, [(4 - 1.5) / spread, (-4 + 5) / spread], rtol=1e-6)
    with pytest.raises(ValueError, match="must be given shadows; got none"):
        attack.scores(replace(opened, shadows=None), torch.rand(2, 1), torch.tensor([1, 0]))
    scarce = replace(opened, shadows=Shadows(shadows.changes[:2], held[:2]))
    with pytest.raises(ValueError, match="shadows must be at least two without each row; got 1"):
        attack.scores(scarce, torch.rand(2, 1), torch.tensor([1, 0]))


def test_errors_by_hand() -> None:
    real = np.array([[0.0, 0.0], [1.0, 1.0]])
    guess = np.array([0.5, 0.5])
    assert row_errors(real[::-1], real, guess).tolist() == [0, 0]
    assert row_errors(np.array([guess, guess, [9, 9]]), real, guess).tolist() == [1, 1]
    assert row_errors(np.array([[1, 1], [0, 1]]), real, guess).tolist() == [2, 0]
    with pytest.raises(ValueError, match="rows that the guess does not meet"):
        row_errors(real, real, real[0])
    value, low, high = median_error([1.0, 2.0, 9.0, 3.0, 4.0])
    assert value == 3
    assert low < 3 < high <= 9


def test_members_are_told_as_scikit_learn_says() -> None:
    rng = np.random.default_rng(0)
    members, owners = rng.random(400) < 0.4, rng.integers(8, size=400)
    scores = np.round(rng.normal(size=400) + members, 1)  # with ties
    found = told(scores, members, owners, (0.0, 0.01, 0.1, 1.0))
    assert found.auc.value == pytest.approx(roc_auc_score(members, scores), abs=1e-12)
    wrong, right, _ = roc_curve(members, scores, drop_intermediate=False)
    for rate, each in zip((0.0, 0.01, 0.1, 1.0), found.found, strict=True):
        assert each.value == right[wrong <= rate].max()
        assert each.low <= each.value <= each.high
    assert found.auc.low < found.auc.value < found.auc.high
    # Whole hospitals are drawn: of two that are alike nothing depends on which.
    twice = told(np.tile(scores, 2), np.tile(members, 2), np.repeat([5, 9], 400), (0.1,))
    assert max(twice.auc) - min(twice.auc) < 1e-12


def test_bad_parameters_are_refused_by_name() -> None:
    assert privacy.names() == ["gradient_inversion", "likelihood_ratio", "membership_inference"]
    with pytest.raises(ValueError, match="must be one of gradient_inversion"):
        privacy.load("inversion")
    for name, value in (("steps", -1), ("rate", 0.0), ("stepz", 1), ("rate", "fast")):
        with pytest.raises(ValueError, match=name):
            privacy.load("gradient_inversion", {name: value})
    with pytest.raises(TypeError, match="frozen dataclass"):
        privacy.privacy_attack(type("Loose", (privacy.PrivacyAttack,), {}))


PROTECTIONS = (Protection("none"), Protection("clip", 0.5), Protection("noise", 0.5, 0.2))


@pytest.fixture(scope="module")
def found() -> list[bench.Leak]:
    config = tiny_job.config("data.balance=false")
    plan = Plan(config.train, 2, shadows=4, inversion={"steps": 2})
    return list(leaks(prepare(config), plan, PROTECTIONS))


def test_noise_hides_what_a_clip_alone_does_not(found: list[bench.Leak]) -> None:
    error = {leak.protection.name: leak.error for leak in found if leak.opened == UPDATE}
    assert error["none"].value < 1e-6
    assert error["clip"].value < 1e-6
    assert error["noise"].low > 0.5


def test_one_table_and_one_figure_have_every_leak(found: list[bench.Leak]) -> None:
    assert [leak.opened for leak in found] == ["one update", "aggregate", "final model"] * 3
    assert privacy_table(found).row_count == 9
    lines = markdown(found).splitlines()
    assert lines[0].count("|") == len(HEADS) + 1
    assert len(lines) == 11
    rows = records(found)
    assert len(rows) == 9 * (1 + 3 * 3)
    assert {row["epsilon"] is None for row in rows if row["noise_sigma"] == 0} == {True}
    assert from_records(json.loads(json.dumps(rows))) == found
    assert layers(found).startswith(b"\x89PNG")


def test_the_threat_model_shows_the_table_of_its_data() -> None:
    docs = Path(__file__).parents[3] / "docs"
    rows = json.loads((docs / "results" / "privacy.json").read_text())
    assert markdown(from_records(rows)) in (docs / "threat-model.md").read_text()


def test_budgets_are_the_accountants() -> None:
    """The aggregate has sqrt(n) times the noise; T rounds are sqrt(T) times as telling."""
    alone = Protection("", 1.0, 2.0)
    assert budgets("aggregate", alone, 16, 4) == pytest.approx(
        budgets("one update", Protection("", 1.0, 8.0), 1, 4)
    )
    once, all_rounds = budgets("one update", alone, 16, 4)
    assert budgets("one update", Protection("", 1.0, 1.0), 16, 1)[0] == pytest.approx(all_rounds)
    assert once < all_rounds
    assert budgets("final model", alone, 16, 4)[0] == budgets("aggregate", alone, 16, 4)[1]


def test_pairs_divide_every_hospitals_rows() -> None:
    """So that half of a target's shadows trained on any row, whether the target did or not."""
    config = tiny_job.config("data.balance=false")
    federation = prepare(config)
    made = federations(federation, Plan(config.train, 1, shadows=4), Protection("none"))
    held = [torch.cat(each.held) for each in made]
    assert len(held) == 6
    for one, other in zip(held[::2], held[1::2], strict=True):
        assert torch.equal(one, ~other)
    assert not torch.equal(held[0], held[2])
    rest = torch.stack(held[2:]).sum(dim=0)
    assert rest.unique().tolist() == [2]


def test_what_cannot_be_is_refused_by_name() -> None:
    config = tiny_job.config()
    for shadows in (2, 5):
        with pytest.raises(ValueError, match=f"shadows must be even and at least 4; got {shadows}"):
            Plan(config.train, 1, shadows=shadows)
    federation = prepare(config)
    with pytest.raises(ValueError, match="rows must be from 1 to "):
        next(leaks(federation, Plan(config.train, 1, rows=10_000), PROTECTIONS))


def test_the_command_refuses_noise_that_does_not_fit_the_rules_range(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert cli.main(["privacy", *tiny_job.SETTINGS, "--noise", "1"]) == 2
    said = " ".join(capsys.readouterr().err.split())
    assert "privacy.noise_sigma must be at most 0.4" in said
    assert "'paper', whose rule takes coordinates inside (-2, 2); got 1" in said


def test_the_command_leaves_table_data_and_figure(tmp_path: Path) -> None:
    folder = tmp_path / "privacy"
    settings = [
        *tiny_job.SETTINGS,
        "rounds=1",
        "data.rows=600",
        "data.hospitals=2",
        "malicious=0.5",
    ]
    given = ["--noise", "0.1", "--shadows", "4", "--steps", "1", "--out", str(folder)]
    assert cli.main(["privacy", *settings, *given]) == 0
    assert {each.name for each in folder.iterdir()} == {
        "privacy.json",
        "privacy.md",
        "privacy.png",
    }
    rows = json.loads((folder / "privacy.json").read_text())
    assert {row["protection"] for row in rows} == {"none", "clip 1", "clip 1, noise 0.1"}
    assert cli.main(["privacy", *settings, *given]) == 2
