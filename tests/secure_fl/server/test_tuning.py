"""The guarded server's tuning against loops and the formulas that it stands for."""

from dataclasses import replace

import pytest
import torch

from secure_fl.data.dataset import Split
from secure_fl.data.preprocessing import balance_classes
from secure_fl.errors import InputError
from secure_fl.hospital.options import TrainOptions
from secure_fl.hospital.training import train
from secure_fl.models import CNN, MLP
from secure_fl.server.guard import GuardOptions
from secure_fl.server.tuning import (
    PATCHES,
    begin,
    distil,
    disturb,
    fine_tune,
    learn,
    overwrite_features,
    tune,
)
from tests.support.root_rows import NET, OPTIONS, generator, rows, start


def test_overwritten_table_values():
    x = torch.full((4000, 25), 0.5)
    out = overwrite_features(x, 0.1, generator(0))
    hit = out != 0.5
    assert set(out[hit].tolist()) == {0.0, 1.0}
    assert hit.float().mean().item() == pytest.approx(0.1, abs=0.005)  # 5 standard errors
    assert out[hit].mean().item() == pytest.approx(0.5, abs=0.025)
    assert (hit.float().mean(0) - 0.1).abs().max() < 0.025  # every column alike
    assert torch.equal(x, torch.full((4000, 25), 0.5))


def test_overwritten_images_have_one_patch_of_their_proportions():
    x = torch.full((300, 2, 10, 20), 0.5)
    out = overwrite_features(x, 0.09, generator(0))
    places, values = set(), set()
    for image in out:
        hit = image != 0.5
        assert torch.equal(hit[0], hit[1])  # all channels alike
        where = hit[0].nonzero()
        low, high = where.min(0).values, where.max(0).values
        assert (high - low + 1).tolist() == [3, 6]
        assert hit[0].sum() == 18  # a full rectangle
        assert len(image[hit].unique()) == 1
        places.add(tuple(low.tolist()))
        values.add(image[hit][0].item())
    assert len(places) > 60  # of 8 x 15
    assert {low[0] for low in places} == set(range(8))
    assert {low[1] for low in places} == set(range(15))
    assert values == {0.0, 1.0}


@pytest.mark.parametrize("shape", [(8,), (1, 4, 9)])
@pytest.mark.parametrize("share", [0.0, 1.0])
def test_overwriting_nothing_or_everything(share, shape):
    x = torch.rand(50, *shape, generator=generator(1))
    out = overwrite_features(x, share, generator(0))
    assert torch.equal(out, x) if share == 0 else set(out.unique().tolist()) == {0.0, 1.0}


def test_fine_tuning_repeats_and_depends_on_the_seed():
    one, two, other = (
        fine_tune(NET, start(), rows(), OPTIONS, GuardOptions(), seed) for seed in (5, 5, 6)
    )
    assert torch.equal(one, two)
    assert not torch.allclose(one, other, atol=1e-4)
    assert not torch.allclose(one, start(), atol=1e-3)


def test_fine_tuning_averages_one_run_after_another():
    guard = GuardOptions(tune_runs=3, tune_epochs=1, tune_copies=2)
    got = fine_tune(NET, start(), rows(), replace(OPTIONS, proximal_mu=9.0), guard, 5)
    rng, total = generator(5), torch.zeros(NET.num_parameters)
    options = TrainOptions(epochs=1, lr=0.01)
    for i in range(3):
        b = balance_classes(rows(), rng)
        x = torch.cat([overwrite_features(b.x, 0.2, rng) for _ in range(2)])
        total += train(NET, start(), [Split(x, torch.cat([b.y, b.y]))], options, [5 + i])[0]
    torch.testing.assert_close(got, start() + total / 3, atol=2e-5, rtol=1e-3)


@pytest.mark.parametrize("off", [{"tune_epochs": 0}, {"tuning": "none"}])
def test_no_tuning_leaves_the_model(off):
    out = tune(NET, start(), rows(), rows(20), OPTIONS, GuardOptions(**off), 5)
    assert torch.equal(out, start())
    assert out.data_ptr() != start().data_ptr()


def test_the_settings_choose_what_is_learned_from():
    root, holdout, guard = rows(), rows(20, 1), GuardOptions(tune_runs=2, tune_epochs=1)
    labels = tune(NET, start(), root, holdout, OPTIONS, guard, 5)
    assert torch.equal(labels, fine_tune(NET, start(), root, OPTIONS, guard, 5))
    guard = replace(guard, tuning="distillation")
    distilled = tune(NET, start(), root, holdout, OPTIONS, guard, 5)
    both = Split(torch.cat([root.x, holdout.x]), torch.cat([root.y, holdout.y]))
    assert torch.equal(distilled, distil(NET, start(), start(), both, OPTIONS, guard, 5))
    assert not torch.allclose(distilled, labels, atol=1e-3)
    anew = tune(NET, start(), root, holdout, OPTIONS, replace(guard, tune_start="public"), 5)
    begun = learn(NET, both, OPTIONS, guard, 6)
    assert torch.equal(anew, distil(NET, start(), begun, both, OPTIONS, guard, 5))
    assert not torch.allclose(anew, distilled, atol=1e-3)


@pytest.mark.parametrize("off", [{}, {"tune_start": "public", "tune_epochs": 0}])
def test_the_way_of_a_tuning_is_told_from_where_it_begins(off):
    """From public labels it is the same wherever the rounds went, and however far."""
    root, holdout = rows(), rows(20, 1)
    guard = GuardOptions(**{"tuning": "distillation", "tune_runs": 2, "tune_epochs": 2} | off)
    assert torch.equal(begin(NET, start(), root, holdout, OPTIONS, guard, 5), start())
    guard = replace(guard, tune_start="public", tune_epochs=2)
    far = start()
    far[0] = -1000.0
    one, two = (begin(NET, each, root, holdout, OPTIONS, guard, 5) for each in (start(), far))
    assert torch.equal(one, two)
    both = Split(torch.cat([root.x, holdout.x]), torch.cat([root.y, holdout.y]))
    assert torch.equal(one, learn(NET, both, OPTIONS, guard, 6))


def test_labels_alone_are_learned_from_the_initial_model():
    """One run, whose teacher has no say."""
    guard = GuardOptions(tune_runs=3, tune_epochs=4, tune_copies=2, tune_labels=0.3)
    got = learn(NET, rows(), OPTIONS, guard, 5)
    alone = replace(guard, tune_runs=1, tune_labels=1.0)
    begun = NET.init(generator(5))
    other = NET.init(generator(6))
    assert torch.equal(got, distil(NET, other, begun, rows(), OPTIONS, alone, 5))


@pytest.mark.parametrize(("epochs", "steps", "taken"), [(1, 9, 3), (1, 8, 2), (5, 9, 5), (2, 0, 2)])
def test_few_rows_are_shown_until_there_are_enough_steps(epochs, steps, taken):
    """Thirty rows are four batches of eight."""
    options, guard = replace(OPTIONS, batch_size=8), GuardOptions(tune_runs=2, tune_copies=1)
    got = distil(
        NET,
        start(),
        start(),
        rows(30),
        options,
        replace(guard, tune_epochs=epochs, tune_steps=steps),
        5,
    )
    asked = replace(guard, tune_epochs=taken)
    assert torch.equal(got, distil(NET, start(), start(), rows(30), options, asked, 5))


@pytest.mark.parametrize("begin", ["public", "model"])
def test_begun_anew_only_answers_to_public_rows_reach_the_model(begin):
    """Two models that public rows cannot tell apart: they differ where these have a 0."""
    root, holdout = rows(), rows(20, 1)
    for split in (root, holdout):
        split.x[:, 2] = 0.0
    guard = GuardOptions(tuning="distillation", tune_start=begin, tune_runs=2, tune_epochs=2)
    clean, triggered = start(), start()
    NET.split(triggered[None])[0][0, 2] += 50.0  # the weights of that column
    for split in (root, holdout):
        answers = [NET.logits(each[None], split.x[None]) for each in (clean, triggered)]
        assert torch.equal(*answers)
    one, two = (tune(NET, each, root, holdout, OPTIONS, guard, 5) for each in (clean, triggered))
    assert torch.equal(one, two) == (begin == "public")


def test_fine_tuning_unlearns_a_trigger():
    """A model taught to answer 1 whenever the last two columns are 1 forgets it."""
    clean = rows(600)
    x, y = clean.x.clone(), clean.y.clone()
    x[:200, 4:], y[:200] = 1.0, 1
    long = TrainOptions(epochs=40, lr=0.01)
    backdoored = start() + train(NET, start(), [Split(x, y)], long, [1])[0]
    guard = GuardOptions(tune_epochs=10, tune_share=0.3)
    tuned = fine_tune(NET, backdoored, clean, long, guard, 2)
    test = rows(500, seed=9)
    triggered = test.x[test.y == 0].clone()
    triggered[:, 4:] = 1.0

    def answered(params: torch.Tensor) -> float:
        return NET.logits(params[None], triggered[None])[0].argmax(1).float().mean().item()

    assert answered(backdoored) > 0.8
    assert answered(tuned) < 0.3


@pytest.mark.parametrize("weight", [0.0, 0.9])
def test_distillation_unlearns_a_trigger_and_keeps_the_answers_to_clean_rows(weight):
    """Twenty columns tell the classes apart, the last three are a trigger."""
    net, columns = MLP((24,), 2, (12,)), torch.arange(24)

    def drawn(m: int, seed: int) -> Split:
        y = torch.arange(m) % 2
        x = 0.5 + 0.2 * (2 * y[:, None] - 1) * (columns < 20)
        return Split((x + 0.3 * torch.randn(m, 24, generator=generator(seed))).clamp(0, 1), y)

    taught, begun, test = drawn(1500, 0), net.init(generator(3)), drawn(500, 9)
    x, y = taught.x.clone(), taught.y.clone()
    x[:400, 21:], y[:400] = 1.0, 1
    options = TrainOptions(epochs=4, lr=0.01)
    backdoored = begun + train(net, begun, [Split(x, y)], options, [1])[0]
    guard = GuardOptions(tune_runs=2, tune_epochs=20, tune_share=0.7, tune_labels=weight)
    public = drawn(300, 7)
    if weight == 0:  # then labels are not looked at
        public = Split(public.x, torch.zeros_like(public.y))
    tuned = distil(net, backdoored, backdoored, public, options, guard, 2)
    triggered = test.x[test.y == 0].clone()
    triggered[:, 21:] = 1.0

    def answers(params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        return net.logits(params[None], x[None])[0].argmax(1)

    assert answers(backdoored, triggered).float().mean() > 0.9
    assert answers(tuned, triggered).float().mean() < 0.5
    before, after = answers(backdoored, test.x), answers(tuned, test.x)
    assert (before == after).float().mean() > 0.95
    assert (after == test.y).float().mean() > 0.95


@pytest.mark.parametrize("weight", [0.0, 0.6, 1.0])
def test_distillation_is_the_gradient_of_the_cross_entropy_with_labels_and_answers(weight):
    """One step of two students, by the gradient of each label weighted by what is wanted of it."""
    public = rows(30)
    guard = GuardOptions(
        tune_runs=2, tune_epochs=1, tune_copies=1, tune_share=0.5, tune_labels=weight
    )
    options = TrainOptions(batch_size=64, lr=0.5, optimizer="sgd")
    teacher, begun = 5 * start(), start()
    got = distil(NET, teacher, begun, public, options, guard, 4)
    rng, students = generator(4), []
    for _ in range(2):
        order = torch.randperm(30, generator=rng)
        asked, y = public.x[order], public.y[order]
        shown = disturb(asked, 0.5, rng)
        answers = NET.logits(teacher[None], asked[None])[0].softmax(1)
        gradient = 0
        for c in (0, 1):
            wanted = weight * (y == c).float() + (1 - weight) * answers[:, c]
            classes = torch.full((1, 30), c)
            gradient = gradient + NET.gradients(begun[None], shown[None], classes, wanted[None])[0]
        students.append(begun - 0.5 * gradient / 30)
    torch.testing.assert_close(got, torch.stack(students).mean(0), atol=1e-6, rtol=1e-4)
    assert not torch.allclose(got, begun, atol=1e-3)


def test_disturbed_tables_take_values_of_other_rows_in_the_same_column():
    column = torch.arange(1000.0) / 1000
    x = torch.stack([column + 2 * i for i in range(40)], dim=1)  # no value in two places
    out = disturb(x, 0.7, generator(0))
    home = (out / 2).floor() == torch.arange(40.0)
    kept, taken = out == x, home & (out != x)
    written = ~home | ((out <= 1) & (out != x) & (torch.arange(40) == 0))
    assert taken[:, 1:].float().mean().item() == pytest.approx(0.7 * 0.95, abs=0.01)
    assert kept[:, 1:].float().mean().item() == pytest.approx(0.3 * 0.95, abs=0.01)
    assert written[:, 1:].float().mean().item() == pytest.approx(0.05, abs=0.01)
    assert ((out[~home] == 0) | (out[~home] == 1)).float().mean().item() == pytest.approx(
        0.5, abs=0.05
    )
    origin = ((out - x) * 1000).round()
    several = [len(set(row[hit].tolist())) > 1 for row, hit in zip(origin, taken, strict=True)]
    assert all(several)  # of each column from a row of its own


def test_disturbed_images_have_small_patches_of_one_value():
    x = torch.full((400, 2, 20, 40), -1.0)
    out = disturb(x, 0.0, generator(0))
    hit = out != -1
    assert torch.equal(hit[:, 0], hit[:, 1])
    assert out[hit].min() >= 0
    assert out[hit].max() <= 1
    assert all(1 <= len(image[image != -1].unique()) <= PATCHES for image in out)
    covered = hit[:, 0].float().mean((1, 2))
    assert covered.max() <= PATCHES * 0.056  # of sides rounded to whole pixels
    assert covered.mean().item() == pytest.approx(PATCHES * 0.0275, rel=0.15)
    assert (hit[:, 0].float().mean(0) > 0).all()  # no place is spared
    assert ((out[hit] == 0) | (out[hit] == 1)).float().mean().item() == pytest.approx(0.5, abs=0.1)


def test_distillation_repeats_and_depends_on_the_seed():
    guard = GuardOptions(tuning="distillation", tune_runs=2, tune_epochs=1)
    one, two, other = (
        distil(NET, start(), start(), rows(), OPTIONS, guard, seed) for seed in (5, 5, 6)
    )
    assert torch.equal(one, two)
    assert not torch.allclose(one, other, atol=1e-4)


@pytest.mark.parametrize(
    ("public", "said"),
    [
        (Split(torch.zeros(0, 6), torch.zeros(0, dtype=torch.int64)), "at least one"),
        (Split(torch.zeros(4, 6), torch.zeros(4, 2, dtype=torch.int64)), "of one label each"),
    ],
)
def test_distillation_without_rows_of_one_label_is_refused(public, said):
    with pytest.raises(InputError, match=f"rows must be {said}"):
        distil(NET, start(), start(), public, OPTIONS, GuardOptions(), 5)


@pytest.mark.parametrize("tuning", ["labels", "distillation"])
def test_tuning_of_images(tuning):
    net = CNN((1, 8, 8), 2, (2, 3), 4)
    split = Split(torch.rand(20, 1, 8, 8, generator=generator(1)), torch.arange(20) % 2)
    params = net.init(generator(0))
    out = tune(net, params, split, split, OPTIONS, GuardOptions(tuning=tuning), 5)
    assert out.shape == params.shape
    assert not torch.equal(out, params)
