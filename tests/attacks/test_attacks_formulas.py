"""Each attack's formula against NumPy, or against the search of its authors."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import norm

import attacks
from attacks.alie import derive_z
from attacks.samples import awake, rows_of, sample_rows, sample_updates, sample_view

H, F, D = 7, 3, 20


def crafted(name, params=None, h=H, f=F, seed=0):
    """An attack's rows (f, d) and its inputs, as float64 arrays."""
    honest, own = sample_updates(h, D, seed).double(), sample_updates(f, D, seed + 1).double()
    view = sample_view(h + f, f, D)
    out = attacks.load(name, params).craft(honest, own, view)
    return out.numpy(), honest.numpy(), own.numpy()


def test_none_sends_what_was_trained():
    out, _, own = crafted("none")
    np.testing.assert_array_equal(out, own)


def test_sign_flip():
    out, _, own = crafted("sign_flip", {"strength": 4.0})
    np.testing.assert_allclose(out, -4 * own)


def test_ipm():
    out, honest, _ = crafted("ipm", {"epsilon": 0.5})
    np.testing.assert_allclose(out, np.tile(-0.5 * honest.mean(0), (F, 1)))


def test_byzantine_gradient_decides_the_average():
    out, honest, _ = crafted("byzantine_gradient", {"strength": 1.5})
    np.testing.assert_allclose(np.vstack([honest, out]).mean(0), -1.5 * honest.mean(0), atol=1e-12)


def test_model_replacement_replaces_the_average():
    out, _, own = crafted("model_replacement")
    everyone = np.vstack([np.zeros((H, D)), out])  # converged: honest updates cancel
    np.testing.assert_allclose(everyone.mean(0), own.mean(0), atol=1e-12)
    out, _, own = crafted("model_replacement", {"boost": 3.0})
    np.testing.assert_allclose(out, 3 * own)


def test_random_noise_has_the_stated_deviation():
    own = torch.zeros(4, 20_000)
    noise = attacks.load("random_noise", {"sigma": 0.5}).craft(own, own, sample_view(9, 4, 20_000))
    assert noise.std().item() == pytest.approx(0.5, rel=0.02)
    assert noise.mean().item() == pytest.approx(0, abs=0.01)
    assert abs(np.corrcoef(noise.numpy())[0, 1]) < 0.05


def test_alie():
    out, honest, _ = crafted("alie", {"z": 1.5})
    want = honest.mean(0) - 1.5 * np.sqrt(np.var(honest, axis=0))
    np.testing.assert_allclose(out, np.tile(want, (F, 1)))


@pytest.mark.parametrize(("n", "f"), [(50, 12), (20, 6), (20, 8), (21, 4), (10, 2)])
def test_alie_derives_z_as_published(n, f):
    s = np.floor(n / 2 + 1) - f
    assert derive_z(n, f) == pytest.approx(norm.ppf((n - f - s) / (n - f)))


def test_alie_paper_example():
    assert derive_z(50, 24) == pytest.approx(norm.ppf(24 / 26))


@pytest.mark.parametrize(
    ("n", "f", "quantile"),
    [
        (10, 6, 3 / 4),  # a majority already: as if one of the four honest ones were needed
        (10, 9, 0.5),  # one honest update has no spread: z is 0
        (10, 10, 9 / 10),  # nobody else: among themselves
        (2, 1, 0.5),  # the only honest hospital is needed
        (1, 1, 0.5),
    ],
)
def test_alie_has_a_shift_where_the_formula_has_none(n, f, quantile):
    assert derive_z(n, f) == pytest.approx(norm.ppf(quantile))


@pytest.mark.parametrize("f", [0, 11])
def test_alie_refuses_impossible_numbers(f):
    with pytest.raises(ValueError, match=f"num_malicious must be from 1 to 10, .*; got {f}"):
        derive_z(10, f)


def halving_search(honest, p, accepts):
    """The published search for the largest accepted g (Shejwalkar and Houmansadr, algorithm 1)."""
    mean, g, step, best = honest.mean(0), 50.0, 50.0, 0.0
    while abs(best - g) > 1e-9:
        if accepts(mean + g * p):
            best, g = g, g + step / 2
        else:
            g -= step / 2
        step /= 2
    return mean + best * p


def numpy_direction(honest, direction):
    mean = honest.mean(0)
    return {
        "std": -honest.std(0, ddof=1),
        "unit": -mean / np.linalg.norm(mean),
        "sign": -np.sign(mean),
    }[direction]


def pairs(honest):
    return np.linalg.norm(honest[:, None] - honest[None], axis=2)


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
@pytest.mark.parametrize("h", [2, 7, 12])
@pytest.mark.parametrize("seed", range(3))
def test_min_max_equals_the_published_search(direction, h, seed):
    out, honest, _ = crafted("min_max", {"direction": direction}, h=h, seed=seed)
    limit = pairs(honest).max()
    want = halving_search(
        honest,
        numpy_direction(honest, direction),
        lambda v: np.linalg.norm(honest - v, axis=1).max() <= limit,
    )
    np.testing.assert_allclose(out, np.tile(want, (F, 1)), atol=1e-6)


@pytest.mark.parametrize("direction", ["std", "unit", "sign"])
@pytest.mark.parametrize("h", [2, 7, 12])
@pytest.mark.parametrize("seed", range(3))
def test_min_sum_equals_the_published_search(direction, h, seed):
    out, honest, _ = crafted("min_sum", {"direction": direction}, h=h, seed=seed)
    limit = (pairs(honest) ** 2).sum(1).max()
    want = halving_search(
        honest,
        numpy_direction(honest, direction),
        lambda v: ((honest - v) ** 2).sum() <= limit,
    )
    np.testing.assert_allclose(out, np.tile(want, (F, 1)), atol=1e-6)


@pytest.mark.parametrize("name", ["min_max", "min_sum", "alie"])
def test_equal_honest_updates_leave_the_mean(name):
    honest = torch.ones(5, D).double()
    out = attacks.load(name, {"z": 1.0} if name == "alie" else {}).craft(
        honest, honest[:2], sample_view(7, 2, D)
    )
    np.testing.assert_allclose(out, np.ones((2, D)), atol=1e-12)


@given(st.integers(1, 9), st.integers(1, 9), st.integers(0, 5))
@settings(max_examples=30, deadline=None)
def test_min_max_never_exceeds_its_bound(h, f, seed):
    out, honest, _ = crafted("min_max", h=h, f=f, seed=seed)
    assert np.linalg.norm(honest - out[0], axis=1).max() <= pairs(honest).max() + 1e-9


# --- data poisoning


def test_label_flip_changes_the_source_class_alone():
    x, y = sample_rows((4,))
    y[:5] = 2
    px, py = attacks.load("label_flip", {"source_class": 2, "target_class": 0}).poison(x, y, None)
    assert torch.equal(px, x)
    np.testing.assert_array_equal(py, np.where(y.numpy() == 2, 0, y.numpy()))


@pytest.mark.parametrize("shape", [(12,), (2, 8, 8)])
def test_backdoor_poisons_the_stated_share(shape):
    backdoor = attacks.load("backdoor", {"fraction": 0.25, "value": 1.0})
    x, y = sample_rows(shape, m=40)
    y[:] = 0
    px, py = backdoor.poison(x, y, sample_view(4, 1, 30, seed=0))
    changed = (px != x).flatten(1).any(1)
    assert int(changed.sum()) == 10
    assert torch.equal(changed, py == 1)
    other, _ = backdoor.poison(x, y, sample_view(4, 1, 30, seed=1))
    assert not torch.equal(px, other)


def test_backdoor_trigger_on_tables_and_images():
    backdoor = attacks.load("backdoor", {"columns": (0, -1), "patch": 2, "value": 0.5})
    table = backdoor.trigger(torch.zeros(2, 4))
    assert table.tolist() == [[0.5, 0, 0, 0.5]] * 2
    image = backdoor.trigger(torch.zeros(1, 1, 3, 3))
    assert image[0, 0].tolist() == [[0, 0, 0], [0, 0.5, 0.5], [0, 0.5, 0.5]]


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((3, 2), "columns must be within the 2"),
        ((3, 1, 2, 2), "patch must be <= 2"),
        ((3, 2, 2), "x"),
    ],
)
def test_backdoor_refuses_data_without_room(shape, message):
    with pytest.raises(ValueError, match=message):
        attacks.load("backdoor").trigger(torch.zeros(shape))


@pytest.mark.parametrize("cosine", [0.0, 0.3, 0.7, 1.0])
def test_adaptive_backdoor_stays_in_the_cone(cosine):
    out, honest, own = crafted("adaptive_backdoor", {"cosine": cosine})
    mean = honest.mean(0)
    got = out @ mean / np.linalg.norm(out, axis=1) / np.linalg.norm(mean)
    before = own @ mean / np.linalg.norm(own, axis=1) / np.linalg.norm(mean)
    np.testing.assert_allclose(got, np.maximum(before, cosine), atol=1e-9)
    lengths = np.linalg.norm(honest, axis=1).mean()
    np.testing.assert_allclose(np.linalg.norm(out, axis=1), lengths, rtol=1e-9)


def test_adaptive_backdoor_keeps_all_that_the_cone_allows():
    """No direction in the cone lies closer to the backdoored update: a search finds no better."""
    out, honest, own = crafted("adaptive_backdoor", {"cosine": 0.9})
    mean = honest.mean(0) / np.linalg.norm(honest.mean(0))
    direction = own / np.linalg.norm(own, axis=1, keepdims=True)
    reached = (out * direction).sum(1) / np.linalg.norm(out, axis=1)
    share = np.linspace(0, 1, 20_001)[:, None]
    for row, best in zip(direction, reached, strict=True):
        blend = share * mean + (1 - share) * row
        blend /= np.linalg.norm(blend, axis=1, keepdims=True)
        allowed = (blend @ row)[blend @ mean >= 0.9]
        assert best == pytest.approx(allowed.max(), abs=1e-4)


def test_adaptive_backdoor_without_an_update_of_its_own_follows_the_honest():
    honest = torch.tensor([[2.0, 0.0], [4.0, 0.0]])
    out = attacks.load("adaptive_backdoor").craft(honest, torch.zeros(1, 2), sample_view(3, 1, 2))
    torch.testing.assert_close(out, torch.tensor([[3.0, 0.0]]))


# --- at the edge: suspensions may leave any number of hospitals on either side

EDGES = [(0, 1), (0, 2), (0, 6), (1, 1), (1, 5), (5, 1), (2, 9)]


@pytest.mark.parametrize("scale", [0.0, 1e-30, 1.0, 1e20])
@pytest.mark.parametrize(("h", "f"), EDGES)
@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_acts_from_one_hospital_to_all_malicious(name, h, f, scale):
    honest, own = scale * sample_updates(h, D), scale * sample_updates(f, D, 1)
    broken = torch.full((1, D), float("nan"))  # a hospital whose training diverged
    for seen in (honest, torch.cat([honest, broken])):
        attack = attacks.load(name)
        view = awake(attack, sample_view(len(seen) + f, f, D, attack=attack))
        out = rows_of(attack.craft(seen, own, view))
        assert out.shape == own.shape
        assert out.dtype == own.dtype
        assert out.isfinite().all() or not attack.finite


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ipm", lambda own: -2 * own.mean(0)),
        ("byzantine_gradient", lambda own: -own.mean(0)),
        ("alie", lambda own: own.mean(0) - norm.ppf(3 / 4) * own.std(0)),
    ],
)
def test_without_an_honest_hospital_the_attackers_are_the_sample(name, expected):
    out, _, own = crafted(name, h=0, f=4)
    np.testing.assert_allclose(out, np.tile(expected(own), (4, 1)), atol=1e-12)


@pytest.mark.parametrize("name", ["min_max", "min_sum"])
def test_min_max_and_min_sum_keep_their_bound_among_themselves(name):
    out, _, own = crafted(name, h=0, f=5)
    squares = pairs(own) ** 2
    reached = ((own - out[0]) ** 2).sum(1)
    got, limit = (
        (reached.max(), squares.max())
        if name == "min_max"
        else (reached.sum(), squares.sum(1).max())
    )
    assert got == pytest.approx(limit)


@pytest.mark.parametrize("name", ["alie", "min_max", "min_sum"])
def test_one_honest_hospital_is_copied(name):
    out, honest, _ = crafted(name, h=1, f=3)
    np.testing.assert_allclose(out, np.tile(honest[0], (3, 1)), atol=1e-12)
