"""Attacks that craft updates, against literal loops or values by hand."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

import attacks
from attacks.fang_krum import krum_scores
from attacks.line_search import maximise
from attacks.samples import awake, rows_of, sample_rows, sample_updates, sample_view
from attacks.view import Outcome

H, F, D = 7, 3, 20


def crafted(name, params=None, h=H, f=F, seed=0, **view):
    """An attack's rows (f, d) and its inputs, as float64 arrays."""
    honest, own = sample_updates(h, D, seed).double(), sample_updates(f, D, seed + 1).double()
    attack = attacks.load(name, params)
    given = awake(attack, sample_view(h + f, f, D, attack=attack, **view))
    out = rows_of(attack.craft(honest, own, given))
    return out.numpy(), honest.numpy(), own.numpy()


def test_mimic_repeats_the_victim():
    out, honest, _ = crafted("mimic", {"victim": 9})
    np.testing.assert_array_equal(out, np.tile(honest[9 % H], (F, 1)))


def test_mimic_finds_who_is_furthest_along_the_main_direction():
    """Over rounds of data that vary along one axis its direction becomes that axis."""
    attack, axis = attacks.load("mimic"), torch.zeros(D).double()
    axis[3] = 1.0
    view = awake(attack, sample_view(H + F, F, D, attack=attack))
    for number in range(5):
        honest = 0.01 * sample_updates(H, D, number).double()
        honest += torch.linspace(-1, 1, H).double()[:, None] * axis
        own = honest[:F].clone()
        rows, memory = attack.craft(honest, own, view)
        view = replace(view, memory=memory)
    assert abs(memory["direction"] @ axis) > 0.99
    assert min((rows[0] - honest[i]).norm() for i in (0, H - 1)) == 0


def fang_literal(honest, b, draws):
    """The paper's four cases, one coordinate after another."""
    sent = np.empty_like(draws)
    for i, row in enumerate(draws):
        for j, u in enumerate(row):
            low, high = honest[:, j].min(), honest[:, j].max()
            if honest[:, j].mean() >= 0:
                start, end = (low, low / b) if low > 0 else (low, b * low)
            else:
                start, end = (high, b * high) if high > 0 else (high, high / b)
            sent[i, j] = start + u * (end - start)
    return sent


@pytest.mark.parametrize("shift", [-3.0, 0.0, 3.0])
def test_fang_trim_is_beyond_all_honest_values_and_opposite(shift):
    honest, own = sample_updates(H, D).double() + shift, sample_updates(F, D, 1).double()
    view = sample_view(H + F, F, D)
    out = attacks.load("fang_trim", {"b": 2.0}).craft(honest, own, view).numpy()
    draws = torch.rand(F, D, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    seen = honest.numpy()
    np.testing.assert_allclose(out, fang_literal(seen, 2.0, draws.numpy()))
    rising = seen.mean(0) >= 0
    assert (out[:, rising] <= seen.min(0)[rising]).all()
    assert (out[:, ~rising] >= seen.max(0)[~rising]).all()


def literal_krum(updates, f):
    """Index that Krum chooses, by its definition, and all scores."""
    n, best = len(updates), []
    for i in range(n):
        away = sorted(float(((updates[i] - updates[j]) ** 2).sum()) for j in range(n) if j != i)
        best.append(sum(away[: n - f - 2]))
    return int(np.argmin(best)), best


@pytest.mark.parametrize("seed", range(4))
def test_fang_krum_is_chosen_and_points_backwards(seed):
    rng = torch.Generator().manual_seed(seed)
    honest = 0.1 + torch.randn(9, D, generator=rng, dtype=torch.float64)
    out = attacks.load("fang_krum").craft(honest, honest[:3], sample_view(12, 3, D)).numpy()
    honest = honest.numpy()
    everyone = np.vstack([out, honest])
    chosen, scores = literal_krum(everyone, 3)
    np.testing.assert_allclose(krum_scores(torch.from_numpy(everyone), 3), scores, atol=1e-9)
    assert chosen < 3
    size = np.abs(out[0])
    np.testing.assert_allclose(size, size[0])
    np.testing.assert_array_equal(np.sign(out[0]), -np.sign(honest.mean(0)))
    twice, _ = literal_krum(np.vstack([2 * out, honest]), 3)
    bound = math.sqrt(min(literal_krum(honest, 0)[1]) / ((12 - 6 - 1) * D))
    bound += np.linalg.norm(honest, axis=1).max() / math.sqrt(D)
    assert twice >= 3 or size[0] == pytest.approx(bound)


def test_inf_nan():
    for value, holds in (("inf", np.isposinf), ("-inf", np.isneginf), ("nan", np.isnan)):
        out, _, _ = crafted("inf_nan", {"value": value})
        assert holds(out).all()


# --- by line search


def test_the_search_is_the_published_one():
    tried = []

    def score(x):
        tried.append(x)
        return -abs(x - 25.0)

    best = maximise(score, 7, 10.0, 0.8)
    # 0, +10, +20 = 30, then +40 fails: 32, 25.6, 20.48, ... beyond 30 never help
    assert tried == pytest.approx([0, 10, 30, 70, 30 + 32, 30 + 25.6, 30 + 20.48])
    assert best == 30


def trimmed_mean(updates):
    middle = updates.double().sort(dim=0).values[F:-F].mean(dim=0)
    return Outcome(middle, torch.ones(len(updates), dtype=torch.bool))


@pytest.mark.parametrize(
    ("name", "sent"),
    [
        ("optimal_alie", lambda u, x: u.mean(0) - x * u.std(0, ddof=1)),
        ("optimal_ipm", lambda u, x: -x * u.mean(0)),
    ],
)
def test_optimal_attacks_search_against_the_rule(name, sent):
    out, honest, _ = crafted(name, simulate=trimmed_mean)

    def harm(x):
        rows = np.vstack([honest, np.tile(sent(honest, x), (F, 1))])
        middle = np.sort(rows, axis=0)[F:-F].mean(0)
        return float(np.linalg.norm(middle - honest.mean(0)))

    best = maximise(harm, 20, 10.0, 0.8)
    np.testing.assert_allclose(out, np.tile(sent(honest, best), (F, 1)))
    assert harm(best) >= max(harm(x) for x in (0.0, 1.0, 5.0))


# --- that remember


def test_mpaf_drags_to_one_base():
    attack = attacks.load("mpaf", {"scale": 10.0})
    view = awake(attack, sample_view(H + F, F, D, attack=attack))
    own = torch.zeros(F, D)
    rows = attack.craft(own, own, view)
    base = view.global_model + rows / 10
    torch.testing.assert_close(base.double(), view.memory["base"].repeat(F, 1), atol=1e-5, rtol=0)


def test_poisonedfl_by_hand():
    """Two coordinates: the magnitude is where the last update differs from what was sent."""
    attack = attacks.load("poisonedfl", {"scale": 2.0, "window": 100})
    signs = torch.tensor([1.0, -1.0, 1.0, 1.0]).double()
    sent = torch.tensor([3.0, -4.0, 0.0, 0.0]).double()  # length 5
    last = torch.tensor([0.0, -4.0, 0.0, 3.0]).double()  # length 5
    view = sample_view(4, 2, 4)
    memory = {
        "signs": signs,
        "sent": sent,
        "from": view.global_model.double(),
        "scale": 2.0,
        "rounds": 1,
    }
    facts = {**view.facts, "previous_update": lambda: last}
    rows, after = attack.craft(
        torch.ones(2, 4), torch.ones(2, 4), replace(view, memory=memory, facts=facts)
    )
    expected = 2 * 5 * torch.tensor([3.0, 0.0, 0.0, 3.0]) / math.sqrt(18)
    torch.testing.assert_close(rows, expected.repeat(2, 1))
    assert after["rounds"] == 2


@pytest.mark.parametrize(("agreement", "scale"), [(1.0, 8.0), (0.5, 8.0 * 0.7), (0.0, 8.0 * 0.7)])
def test_poisonedfl_grows_shorter_where_its_direction_does_not_come_through(agreement, scale):
    attack = attacks.load("poisonedfl", {"window": 5})
    view = sample_view(4, 1, 100)
    memory = dict(awake(attack, view).memory) | {"sent": torch.ones(100).double(), "rounds": 5}
    same = torch.arange(100) < 100 * agreement
    way = torch.where(same, memory["signs"], -memory["signs"])
    memory["from"] = view.global_model.double() - 0.1 * way
    _, after = attack.craft(torch.ones(1, 100), torch.ones(1, 100), replace(view, memory=memory))
    assert after["scale"] == pytest.approx(scale)


def test_free_rider_sends_the_last_update_with_noise_of_the_stated_length():
    attack = attacks.load("free_rider", {"sigma": 0.5})
    view = sample_view(5, 4, 4000)
    rows = attack.craft(torch.zeros(4, 4000), torch.zeros(4, 4000), view).double()
    last = view.previous_update
    noise = (rows - last).norm(dim=1) / last.norm()
    np.testing.assert_allclose(noise, 0.5, rtol=0.1)
    nothing = {**view.facts, "previous_update": lambda: torch.zeros(4000).double()}
    first = attack.craft(torch.zeros(4, 4000), torch.zeros(4, 4000), replace(view, facts=nothing))
    np.testing.assert_allclose(first.norm(dim=1), 0.01, rtol=0.1)


def test_sybils_send_one_update_whose_noise_cancels():
    out, _, own = crafted("sybil")
    np.testing.assert_allclose(out, np.tile(own.mean(0), (F, 1)))
    noisy, _, _ = crafted("sybil", {"noise": 0.3})
    np.testing.assert_allclose(noisy.mean(0), own.mean(0), atol=1e-12)
    assert len(np.unique(noisy, axis=0)) == F


@pytest.mark.parametrize(
    ("mode", "strikes"),
    [
        ("sleeper", [0, 1, 1, 1, 1, 1]),
        ("on_off", [0, 1, 1, 0, 0, 1]),
        ("floor", [1, 1, 1, 0, 1, 1]),
    ],
)
def test_reputation_gaming_strikes_as_its_mode_says(mode, strikes):
    attack = attacks.load(
        "reputation_gaming", {"mode": mode, "wait": 0, "high": 0.9, "low": 0.5, "margin": 0.1}
    )
    view = sample_view(4, 2, D)
    own, memory = torch.ones(2, D), None
    for reputation, strike in zip([0.8, 0.95, 0.6, 0.4, 0.7, 0.9], strikes, strict=True):
        told = torch.tensor([reputation, 0.0, 1.0, 1.0], dtype=torch.float64)
        now = replace(view, facts={**view.facts, "reputation": lambda told=told: told})
        memory = attack.init(now) if memory is None else memory
        rows, memory = attack.craft(own, own, replace(now, memory=memory))
        assert rows[0, 0] == (-1 if strike else 1), reputation
        assert rows[1, 0] == 1  # never trusted


# --- at the edge of a screen


def test_norm_hugging_is_as_long_as_the_middle_and_opposite():
    out, honest, _ = crafted("norm_hugging", {"factor": 1.5})
    lengths = np.linalg.norm(honest, axis=1)
    mean = honest.mean(0)
    np.testing.assert_allclose(
        out[0], -1.5 * np.median(lengths) * mean / np.linalg.norm(mean), atol=1e-12
    )


@pytest.mark.parametrize("cosine", [-0.5, 0.0, 0.2, 0.9])
def test_cosine_hugging_has_the_cosine_and_the_middle_length(cosine):
    out, honest, _ = crafted("cosine_hugging", {"cosine": cosine})
    mean = honest.mean(0)
    got = out[0] @ mean / np.linalg.norm(out[0]) / np.linalg.norm(mean)
    assert got == pytest.approx(cosine)
    assert np.linalg.norm(out[0]) == pytest.approx(np.median(np.linalg.norm(honest, axis=1)))
    across = out[0] / np.linalg.norm(out[0]) - cosine * mean / np.linalg.norm(mean)
    assert across @ np.sign(mean) < 0


def test_tie_gaming_sends_one_update():
    out, honest, _ = crafted("tie_gaming", {"strength": 2.0})
    mean = honest.mean(0)
    expected = mean - 2 * np.linalg.norm(mean) * np.sign(mean) / math.sqrt(D)
    np.testing.assert_allclose(out, np.tile(expected, (F, 1)))


def test_constrain_and_scale_fills_the_bound_and_no_more():
    own = torch.stack([0.2 * torch.ones(4), 2 * torch.ones(4), 0.5 * torch.ones(4)])  # 0.4, 4, 1
    attack = attacks.load("constrain_and_scale")
    out = attack.craft(own, own, sample_view(9, 3, 4))  # n / f = 3, bound 1
    np.testing.assert_allclose(out.norm(dim=1), [1.0, 4.0, 1.0], rtol=1e-6)
    free = attack.craft(own, own, sample_view(9, 3, 4, clip_norm=None))
    torch.testing.assert_close(free, 3 * own)


# --- with models


def accepts_short(limit):
    """A mean that rejects rows longer than a limit."""

    def simulate(updates):
        kept = updates.norm(dim=1) <= limit
        return Outcome(updates[kept].mean(dim=0), kept)

    return simulate


def test_full_information_backdoor_sends_the_best_of_its_grid():
    attack = attacks.load("full_information_backdoor", {"columns": (0,), "caution": 5.0})
    honest, own = sample_updates(H, D).double(), sample_updates(F, D, 1).double()
    middle = float(honest.norm(dim=1).median())
    view = sample_view(H + F, F, D, simulate=accepts_short(1.2 * middle))
    out = attack.craft(honest, own, view)
    assert (out.norm(dim=1) <= 1.2 * middle).all()  # what would be rejected costs more
    reached = attack.score(torch.cat([honest, out]), F, view)
    mean = honest.mean(0) / honest.mean(0).norm()
    for turn in np.linspace(0, 1, 5):
        for length in attack.lengths:
            rows = (1 - turn) * mean + turn * own / own.norm(dim=1, keepdim=True)
            rows = length * middle * rows / rows.norm(dim=1, keepdim=True)
            assert attack.score(torch.cat([honest, rows]), F, view) <= reached + 1e-9


def test_full_information_backdoor_can_search_through_the_server_and_its_tuning():
    """A server that only takes half and a tuning that turns around each change what is best."""
    honest, own = sample_updates(H, D).double(), sample_updates(F, D, 1).double()
    view = sample_view(H + F, F, D)
    model, asked = view.global_model.double(), []

    def publish(update):
        asked.append(update)
        return (model - update).float()

    server = {
        "candidate": lambda: lambda update: (model + update / 2).float(),
        "publish": lambda: publish,
    }
    view = replace(view, facts={**view.facts, **server})
    params = {"columns": (0,), "finalists": 4}
    grid = 5 * 4
    ways = [
        attacks.load("full_information_backdoor", params | {"through": through})
        for through in ("rule", "server", "tuning")
    ]
    sent = [attack.craft(honest, own, view) for attack in ways]
    assert len(asked) == 4
    scores = [
        [way.score(torch.cat([honest, rows]), F, view, through) for rows in sent]
        for way, through in zip(ways, ("rule", "server", "tuning"), strict=True)
    ]
    assert scores[0][0] == max(scores[0])
    assert scores[1][1] == max(scores[1])
    assert scores[2][2] == max(scores[2])
    through_all = attacks.load(
        "full_information_backdoor", params | {"through": "tuning", "finalists": grid}
    )
    best = through_all.craft(honest, own, view)
    worst = through_all.score(torch.cat([honest, sent[1]]), F, view, "tuning")
    assert through_all.score(torch.cat([honest, best]), F, view, "tuning") > worst


def test_bc_layers_keeps_what_the_backdoor_needs():
    """The bias alone sends everything to the target: the weights stay honest."""
    attack = attacks.load("bc_layers", {"columns": (0,), "target_class": 1})
    view = sample_view(5, 2, D)
    bad = view.benign.clone()
    bad[:, -2:] = torch.tensor([-30.0, 30.0])
    bad[:, :-2] += 0.01
    out = attack.craft(bad, bad, view)
    torch.testing.assert_close(out[:, -2:], bad[:, -2:])
    torch.testing.assert_close(out[:, :-2], view.benign[:, :-2])


def test_neurotoxin_leaves_alone_what_moved_most():
    attack = attacks.load("neurotoxin", {"top": 0.25})
    view = sample_view(5, 2, 8)
    last = torch.tensor([0.0, 5.0, 1.0, -7.0, 2.0, 0.5, 0.1, 0.3]).double()
    view = awake(attack, replace(view, facts={**view.facts, "previous_update": lambda: last}))
    kept = attack.constrain(torch.zeros(2, 8), torch.ones(2, 8), torch.zeros(8), view)
    assert kept.tolist() == [[1, 0, 1, 0, 1, 1, 1, 1]] * 2


def test_pgd_projects_onto_the_ball():
    attack = attacks.load("pgd_backdoor", {"radius": 2.0})
    start, view = torch.ones(4), sample_view(5, 2, 4)
    away = torch.tensor([[0.0, 3.0, 4.0, 0.0], [0.5, 0.0, 0.0, 0.0]])
    inside = attack.project(start + away, start, view) - start
    torch.testing.assert_close(inside, torch.stack([away[0] * 2 / 5, away[1]]))
    default = attacks.load("pgd_backdoor").project(start + away, start, view) - start
    assert default[0].norm().item() == pytest.approx(1.0)  # the federation's own bound


def test_constrain_and_scale_pulls_back():
    attack = attacks.load("constrain_and_scale", {"alpha": 0.25})
    params, start = torch.full((1, 4), 3.0), torch.ones(4)
    pulled = attack.constrain(params, torch.full((1, 4), 8.0), start, sample_view(5, 2, 4))
    assert pulled.tolist() == [[0.25 * 8 + 2 * 0.75 * 2] * 4]


def test_alternating_minimisation_takes_turns():
    attack = attacks.load("alternating_minimisation", {"boost": 7.0, "stealth": 2, "rho": 0.5})
    view = sample_view(5, 2, D)
    params, gradient = sample_updates(2, D), torch.ones(2, D)
    start = torch.zeros(D)
    for step in (0, 3):
        boosted = attack.constrain(params, gradient, start, replace(view, step=step))
        assert torch.equal(boosted, 7 * gradient)
    stealthy = attack.constrain(params, gradient, start, replace(view, step=4))
    x, y = (torch.cat([sample_rows((9,), seed=i)[part] for i in range(2)]) for part in (0, 1))
    rows = torch.randint(len(y), (32,), generator=torch.Generator().manual_seed(4))
    leaf = params.clone().requires_grad_()
    loss = sum(
        torch.nn.functional.cross_entropy(view.network.logits(row[None], x[rows][None])[0], y[rows])
        for row in leaf
    )
    loss = loss + 0.5 * (leaf - view.previous_update.float()).square().sum()
    (expected,) = torch.autograd.grad(loss, leaf)
    torch.testing.assert_close(stealthy, expected, rtol=1e-4, atol=1e-5)
