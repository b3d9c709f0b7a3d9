"""Servers: the model after an aggregation, on a small federation of real data."""

from dataclasses import replace

import pytest
import torch

from secure_fl import seeds
from secure_fl.data.dataset import concatenate
from secure_fl.federation import Federation
from secure_fl.hospital.options import TrainOptions
from secure_fl.server.guard import (
    RootDirections,
    balanced_loss,
    combine,
    root_directions,
)
from secure_fl.server.server import AddingServer, GuardedServer
from secure_fl.server.tuning import tune
from secure_fl.settings.config import load_config, load_defence
from secure_fl.simulation.parties import make_server
from secure_fl.simulation.prepare import prepare
from secure_fl.types import AggregateResult

OPTIONS = TrainOptions(epochs=3, lr=0.005)
SEED = 4


@pytest.fixture(scope="module")
def federation() -> Federation:
    return prepare(load_config(["data.rows=1200", "data.hospitals=4", "model.params.hidden=[8]"]))


def guarded(federation: Federation, **guard: object) -> GuardedServer:
    defence = replace(load_defence("guarded"), guard={"bootstraps": 3, **guard})
    return GuardedServer(federation, OPTIONS, SEED, defence.guard_options())


def result(update: torch.Tensor) -> AggregateResult:
    return AggregateResult(update.double(), torch.ones(4, dtype=torch.bool), [])


def against(root: RootDirections) -> RootDirections:
    """Away from the root, with nothing to damp."""
    return RootDirections(-root.update, torch.zeros(0, 1), -root.reference)


def random_update(federation: Federation, seed: int = 0) -> torch.Tensor:
    return 0.01 * torch.randn(
        federation.initial.numel(), generator=torch.Generator().manual_seed(seed)
    )


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("fedavg", AddingServer),
        ("paper", AddingServer),
        ("guarded", GuardedServer),
        ("root_only", GuardedServer),
    ],
)
def test_validation_chooses_the_server(federation, name, kind):
    server = make_server(federation, load_defence(name), OPTIONS, SEED)
    assert type(server) is kind


def test_adding_server_adds_once_rounded(federation):
    server = AddingServer(federation, OPTIONS, SEED)
    update = random_update(federation).double() * 1e-3
    step = server.step(federation.initial, result(update), None, server.init(federation.initial))
    assert torch.equal(step.candidate, (federation.initial.double() + update).float())
    assert step.candidate.dtype == torch.float32
    assert not step.stopped
    assert server.finish(step.candidate, step.state) is step.candidate


def test_directions_only_where_a_rule_wants_them(federation):
    plain = AddingServer(federation, OPTIONS, SEED)
    assert plain.directions(federation.initial, 1) is None
    wanting = AddingServer(federation, OPTIONS, SEED, reference=True)
    got = wanting.directions(federation.initial, 2)
    want = root_directions(
        federation.model,
        federation.initial,
        federation.data.root,
        OPTIONS,
        0,
        seeds.integer(SEED, "guard", 2),
    )
    assert torch.equal(got.update, want.update)
    assert len(got.bootstraps) == 0


def test_directions_are_new_every_round(federation):
    server = guarded(federation)
    one, same, two = (server.directions(federation.initial, number) for number in (1, 1, 2))
    assert torch.equal(one.update, same.update)
    assert not torch.allclose(one.update, two.update, atol=1e-5)
    assert one.bootstraps.shape == (3, federation.initial.numel())


def test_the_screen_compares_with_both_halves_where_it_shall(federation):
    data = federation.data
    both = concatenate([data.root, data.holdout])
    assert both.y.tolist() == [*data.root.y.tolist(), *data.holdout.y.tolist()]
    assert torch.equal(both.x[len(data.root) :], data.holdout.x)
    narrow, wide = (
        guarded(federation, screen=screen).directions(federation.initial, 2)
        for screen in ("root", "public")
    )
    want = root_directions(
        federation.model,
        federation.initial,
        data.root,
        OPTIONS,
        3,
        seeds.integer(SEED, "guard", 2),
        both,
    )
    assert torch.equal(wide.reference, want.reference)
    torch.testing.assert_close(wide.update, narrow.update)
    assert torch.equal(narrow.reference, narrow.update)
    assert not torch.allclose(wide.reference, wide.update, atol=1e-4)


def test_guarded_step_searches_along_the_combined_direction(federation):
    server = guarded(federation)
    state = server.init(federation.initial)
    root = server.directions(federation.initial, 1)
    update = random_update(federation)
    step = server.step(federation.initial, result(update), root, state)
    direction = combine(update, root, server.guard.damping, server.guard.root_share)
    holdout = federation.data.holdout
    tried = {
        length: balanced_loss(federation.model, federation.initial + length * direction, holdout)
        for length in server.guard.steps
    }
    best = min(tried, key=tried.__getitem__)
    assert tried[best] < balanced_loss(federation.model, federation.initial, holdout)
    torch.testing.assert_close(step.candidate, federation.initial + best * direction)
    assert step.state.loss == pytest.approx(tried[best], rel=1e-5)
    assert not step.stopped


def test_guarded_server_stops_after_rounds_without_gain(federation):
    server = guarded(federation, patience=2)
    state = server.init(federation.initial)
    ascent = against(server.directions(federation.initial, 1))
    zero = result(torch.zeros_like(federation.initial))
    stopped = []
    for _ in range(2):
        step = server.step(federation.initial, zero, ascent, state)
        assert torch.equal(step.candidate, federation.initial)
        state = step.state
        stopped.append(step.stopped)
    assert stopped == [False, True]


def test_after_a_rollback_the_gate_starts_from_the_model_that_was_kept(federation):
    server = guarded(federation)
    root = server.directions(federation.initial, 1)
    update = result(random_update(federation))
    taken = server.step(federation.initial, update, root, server.init(federation.initial))
    assert not torch.equal(taken.candidate, federation.initial)

    # The chain kept the model before it, so the server's own state is ahead of the federation.
    again = server.step(federation.initial, update, root, taken.state)
    assert torch.equal(again.candidate, taken.candidate)  # the same choice from the same model
    assert again.state.stale == 0

    ascent = against(root)
    still = result(torch.zeros_like(federation.initial))
    refused = server.step(federation.initial, still, ascent, taken.state)
    assert torch.equal(refused.candidate, federation.initial)
    assert refused.state.loss == pytest.approx(server.init(federation.initial).loss)
    assert refused.state.stale == 2  # the round that was rolled back, and this one


def test_a_round_without_rollback_is_not_taken_for_one(federation):
    server = guarded(federation)
    state = server.init(federation.initial)
    ascent = against(server.directions(federation.initial, 1))
    zero = result(torch.zeros_like(federation.initial))
    assert server.step(federation.initial, zero, ascent, state).state.stale == 1


def test_without_a_gate_every_direction_is_taken_whole(federation):
    """Also one that no gate would take; and training never stops early."""
    server = guarded(federation, gate=False, patience=1)
    state, root = server.init(federation.initial), server.directions(federation.initial, 1)
    away = against(root)
    model = federation.initial
    for _ in range(2):
        step = server.step(model, result(torch.zeros_like(model)), away, state)
        want = model + combine(torch.zeros_like(model), away, 0.3, 0.3)
        torch.testing.assert_close(step.candidate, want)
        assert not step.stopped
        model, state = step.candidate, step.state
    gated = guarded(federation, patience=1)
    begun = gated.init(federation.initial)
    assert gated.step(federation.initial, result(torch.zeros_like(model)), away, begun).stopped


def test_guarded_server_needs_directions(federation):
    server = guarded(federation)
    state = server.init(federation.initial)
    with pytest.raises(ValueError, match="needs the root's directions; got None"):
        server.step(federation.initial, result(random_update(federation)), None, state)


@pytest.mark.parametrize("tuning", ["labels", "distillation"])
def test_finish_tunes_on_the_public_rows(federation, tuning):
    server = guarded(federation, tuning=tuning, tune_runs=2, tune_epochs=2)
    state = server.init(federation.initial)
    want = tune(
        federation.model,
        federation.initial,
        federation.data.root,
        federation.data.holdout,
        OPTIONS,
        server.guard,
        seeds.integer(SEED, "guard", 0),
    )
    assert torch.equal(server.finish(federation.initial, state), want)
    untouched = guarded(federation, tune_epochs=0).finish(federation.initial, state)
    assert torch.equal(untouched, federation.initial)
