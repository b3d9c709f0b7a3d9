"""One round: who takes part, what is sent, what is combined, on the backends in the clear."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch

import attacks
from attacks import Attack, AttackView
from attacks.optimal_ipm import OptimalIpm
from secure_fl import seeds
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.session import Session
from secure_fl.data import Split
from secure_fl.errors import InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.training import train
from secure_fl.server.samples import bounded
from secure_fl.settings.attackers import AttackConfig
from secure_fl.simulation.attackers import Part
from secure_fl.simulation.parties import make_server
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.rehearsal import dry_run
from secure_fl.simulation.round import (
    Played,
    RunContext,
    State,
    local_updates,
    model_hash,
    openings,
    result_hash,
    run_round,
    scene_of,
    update_hash,
)
from secure_fl.simulation.round_ledger import Nobody
from secure_fl.simulation.run import RunConfig, make_context, open_session
from secure_fl.simulation.secret import CellSecrets
from secure_fl.types import AggregateResult, Opening
from tests.support import tiny_job

N = 4


@dataclass(frozen=True)
class Sends(Attack):
    """Send a fixed value, or a wrong shape."""

    knowledge = "own"
    objective = "untargeted"
    value: float = float("nan")
    columns: int | None = None

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        return torch.full_like(own[:, : self.columns], self.value)


class Forgetful(Nobody):
    """A ledger on which one hospital's commitment is missing."""

    def commit(
        self, number: int, roots: Mapping[int, bytes], hospitals: Sequence[Hospital]
    ) -> dict[int, bytes]:
        return {hospital: root for hospital, root in roots.items() if hospital != 2}


@pytest.fixture(scope="module")
def federation() -> Federation:
    return prepare(tiny_job.config())


SECRETS = CellSecrets(b"s" * 32, b"n" * 32, b"c" * 32)


def make(
    federation: Federation,
    *overrides: str,
    attack: Attack | None = None,
    fraction: float = 0.0,
) -> tuple[RunConfig, RunContext]:
    config = tiny_job.config("defences=[fedavg]", *overrides)
    run = RunConfig(config, config.defences[0], AttackConfig("sign_flip"), fraction)
    context = make_context(run, federation, SECRETS)
    if attack is None:
        return run, context
    attackers = replace(context.attackers, parts=(Part(attack),))
    return run, replace(context, attackers=attackers)


def handed_in(context: RunContext, state: State, number: int, active: list[int]) -> torch.Tensor:
    server = make_server(context.federation, context.defence, context.options, 0)
    scene = scene_of(context, state, number, active, server, lambda: None)
    return local_updates(scene).updates


def start(federation: Federation) -> State:
    return State(federation.initial, torch.zeros(N, dtype=torch.bool))


def one_round(
    federation: Federation, run: RunConfig, context: RunContext, ledger: Any = None, **state: Any
) -> Played:
    server = make_server(federation, run.defence, context.options, run.experiment.seed)
    begin = replace(start(federation), server=server.init(federation.initial), **state)
    with open_backend(run.defence.backend) as backend:
        session = open_session(run, federation, backend, context.hospitals)
        return run_round(context, server, ledger or Nobody(N), session, begin, 1)


def test_fedavg_is_the_mean_of_clipped_updates_by_rows(federation: Federation) -> None:
    run, context = make(federation, "defence.backend=plain", "privacy.clip_norm=0.05")
    played = one_round(federation, run, context)
    options = run.experiment.train
    trained = train(
        federation.model,
        federation.initial,
        federation.data.hospitals,
        options,
        [seeds.integer(0, "training", 1, i) for i in range(N)],
    )
    rows = trained.numpy().astype(np.float64)
    rows *= np.minimum(1, 0.05 / np.linalg.norm(rows, axis=1, keepdims=True))
    weights = np.array(bounded(federation.rows, 2.0))
    assert len(set(weights)) > 1
    expected = federation.initial.numpy() + weights @ rows / weights.sum()
    np.testing.assert_allclose(played.state.model.numpy(), expected, atol=1e-7)
    assert played.row["accepted"] == [True] * N
    assert played.row["status"] == "unchecked"
    assert played.row["samples"] == weights.tolist()


@pytest.mark.parametrize("screen", ["root", "public"])
def test_the_rule_compares_with_the_rows_that_the_guard_names(
    screen: str, federation: Federation, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = ["defences=[guarded]", "defence.backend=plain", f"defence.guard.screen={screen}"]
    run, context = make(federation, *asked)
    given: list[torch.Tensor] = []
    aggregate = Session.aggregate

    def recorded(self: Session, *args: Any, **public: Any) -> AggregateResult:
        given.append(public["reference"])
        return aggregate(self, *args, **public)

    monkeypatch.setattr(Session, "aggregate", recorded)
    one_round(federation, run, context)
    server = make_server(federation, run.defence, context.options, run.experiment.seed)
    root = server.directions(federation.initial, 1)
    assert root is not None
    assert torch.equal(given[0], root.reference)
    assert torch.equal(given[0], root.update) == (screen == "root")


@pytest.mark.parametrize("defence", ["fedavg", "robust", "paper", "guarded"])
def test_plain_and_fixed_agree(defence: str, federation: Federation) -> None:
    models, flags = [], []
    for backend in ("plain", "fixed"):
        clear = [f"defence={defence}", f"defence.backend={backend}", "defence.ledger=false"]
        clear += ["defence.reputation=false"]
        clear += ["defence.validation=none"] if defence == "paper" else []
        run, context = make(federation, *clear, fraction=0.25)
        played = one_round(federation, run, context)
        models.append(played.state.model)
        flags.append(played.row["accepted"])
    assert flags[0] == flags[1]
    assert not torch.equal(models[0], federation.initial)
    torch.testing.assert_close(models[0], models[1], atol=2**-12, rtol=0)


def test_suspended_hospitals_are_left_out(federation: Federation) -> None:
    out = torch.tensor([False, True, False, False])
    run, context = make(federation, "defence=robust")
    first = one_round(federation, run, context, suspended=out)
    assert first.row["accepted"] == [True, None, True, True]
    other = list(context.splits)
    other[1] = Split(torch.rand_like(other[1].x), 1 - other[1].y)
    second = one_round(federation, run, replace(context, splits=other), suspended=out)
    assert torch.equal(first.state.model, second.state.model)
    third = one_round(federation, run, context)
    assert not torch.equal(first.state.model, third.state.model)


@pytest.mark.parametrize(("backend", "left"), [("plain", 0), ("fixed", 2), ("mpc", 0), ("mpc", 2)])
def test_a_round_with_nobody_left_keeps_the_model(
    backend: str, left: int, federation: Federation
) -> None:
    """Two are as good as nobody: fewer than three are not combined, in any backend."""
    run, context = make(federation, "defence=robust", f"defence.backend={backend}")
    out = torch.arange(N) >= left
    played = one_round(federation, run, context, suspended=out)
    assert played.row["accepted"] == [None] * N
    assert torch.equal(played.state.model, federation.initial)
    if backend != "mpc":
        assert one_round(federation, run, context, suspended=torch.arange(N) > 2).row[
            "accepted"
        ] == [True, True, True, None]


def test_rows_of_absent_hospitals_stay_zero_even_with_noise(federation: Federation) -> None:
    _, context = make(federation, "privacy.noise_sigma=0.1")
    sent = handed_in(context, start(federation), 1, [0, 2])
    assert torch.count_nonzero(sent[[1, 3]]) == 0
    assert (sent[[0, 2]].norm(dim=1) > 0.1).all()


@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_a_hospital_without_a_commitment_does_not_count(
    backend: str, federation: Federation
) -> None:
    run, context = make(federation, "defence=robust", f"defence.backend={backend}")
    played = one_round(federation, run, context, Forgetful(N))
    assert played.row["accepted"] == [True, True, None, True]
    absent = torch.tensor([False, False, True, False])
    same = one_round(federation, run, context, suspended=absent)
    assert torch.equal(played.state.model, same.state.model)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
@pytest.mark.parametrize("backend", ["plain", "fixed"])
def test_an_update_that_is_not_finite_is_refused_and_the_round_goes_on(
    value: float, backend: str, federation: Federation
) -> None:
    clear = ["defence=robust", f"defence.backend={backend}", "privacy.bind_malicious=false"]
    run, context = make(federation, *clear, attack=Sends(value), fraction=0.25)
    (bad,) = context.malicious
    played = one_round(federation, run, context)
    accepted = [None if i == bad else True for i in range(N)]
    if value != value:  # infinity is held at the largest value that can be sent, and counted
        assert list(played.row["refused"]) == [str(bad)]
        assert "must be a finite number" in played.row["refused"][str(bad)]
        assert played.row["accepted"] == accepted
    else:
        assert played.row["refused"] == {}
    assert played.state.model.isfinite().all()


def test_when_every_update_is_refused_the_model_stays(federation: Federation) -> None:
    run, context = make(federation, "defence=robust", "privacy.clip_norm=null")
    broken = [Split(torch.full_like(s.x, float("nan")), s.y) for s in context.splits]
    played = one_round(federation, run, replace(context, splits=broken))
    assert sorted(played.row["refused"]) == ["0", "1", "2", "3"]
    assert played.row["accepted"] == [None] * N
    assert torch.equal(played.state.model, federation.initial)


def test_an_attack_of_the_wrong_shape_is_refused_by_name(federation: Federation) -> None:
    _, context = make(federation, attack=Sends(0.0, columns=3), fraction=0.25)
    with pytest.raises(InputError, match=r"Sends.* must return updates of shape \(1, \d+\); got"):
        handed_in(context, start(federation), 1, [0, 1, 2, 3])


@pytest.mark.parametrize("name", attacks.names())
def test_every_attack_acts_whoever_is_suspended(name: str, federation: Federation) -> None:
    attack = attacks.load(name)
    _, context = make(federation, attack=attack, fraction=0.5)
    honest = [i for i in range(N) if i not in context.malicious]
    first, second = context.malicious
    for active in ([first], [first, second], [first, second, honest[0]], [second, *honest]):
        sent = handed_in(context, start(federation), 1, sorted(active))
        assert sent.isfinite().all() or not attack.finite
        assert torch.count_nonzero(sent[[i for i in range(N) if i not in active]]) == 0
        # Too few of these hospitals weigh enough to be combined: no strength harms more than none.
        idle = isinstance(attack, OptimalIpm)
        assert (sent[active].norm(dim=1) > 0).all() or idle or not attack.finite


@dataclass(frozen=True)
class Lonely(Attack):
    """Cannot act without an honest hospital, or with one alone."""

    how: str = "divides"

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        if self.how == "divides":
            return own * (1 / (view.num_hospitals - view.num_malicious))
        return own / (view.num_hospitals - view.num_malicious - 1)


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ("divides", r"Lonely.*, among 2 hospitals, 2 of them malicious, in craft .*division"),
        ("is infinite", r"Lonely.* must return finite .* among 3 hospitals, 2 of them malicious"),
    ],
)
def test_an_attack_that_would_fail_later_is_refused_before_round_1(
    how: str, message: str, federation: Federation
) -> None:
    _, context = make(federation, attack=Lonely(how), fraction=0.5)
    with pytest.raises(SecureFLError, match=message):
        dry_run(context)


def test_honest_updates_do_not_depend_on_the_attack(federation: Federation) -> None:
    everybody = list(range(N))
    _, clean = make(federation)
    _, attacked = make(federation, attack=Sends(1.0), fraction=0.25)
    one = handed_in(clean, start(federation), 1, everybody)
    two = handed_in(attacked, start(federation), 1, everybody)
    honest = [i for i in everybody if i not in attacked.malicious]
    assert torch.equal(one[honest], two[honest])
    assert not torch.equal(one, two)
    again = handed_in(clean, start(federation), 2, everybody)
    assert not torch.equal(one, again)  # another round, other batches


def test_the_bound_holds_malicious_hospitals_unless_told_otherwise(federation: Federation) -> None:
    for bound, longest in (("true", 1.0), ("false", 1000.0)):
        _, context = make(
            federation, f"privacy.bind_malicious={bound}", attack=Sends(100.0), fraction=0.25
        )
        norms = handed_in(context, start(federation), 1, list(range(N))).norm(dim=1)
        assert norms[list(context.malicious)].max() >= longest - 1e-5
        honest = [i for i in range(N) if i not in context.malicious]
        assert norms[honest].max() <= 1 + 1e-5


def test_hashes_are_those_of_the_bytes(federation: Federation) -> None:
    values = torch.tensor([[1.5, -2.0], [0.0, 3.25]])
    packed = np.array([[1.5, -2.0], [0.0, 3.25]], "<f8").tobytes()
    long = torch.arange(65.0)
    result = AggregateResult(
        values[0],
        torch.ones(2, dtype=torch.bool),
        [Opening("flags", (2, 2)), Opening("update", (2,)), Opening("long", (65,))],
        {"flags": values, "long": long},
    )
    rows = openings(3, result)
    assert rows[0]["sha256"] == hashlib.sha256(packed).hexdigest()
    assert rows[0]["value"] == [1.5, -2.0, 0.0, 3.25]
    assert rows[1]["sha256"] == update_hash(values[0])
    assert "value" not in rows[2]
    assert rows[2]["sha256"] == hashlib.sha256(long.numpy().astype("<f8").tobytes()).hexdigest()
    assert update_hash(values[0]) == hashlib.sha256(packed[:16]).hexdigest()
    assert len(model_hash(federation.initial)) == 64
    one = result_hash(1, [True, None], rows, "ab")
    assert one != result_hash(1, [True, False], rows, "ab")
    assert one != result_hash(2, [True, None], rows, "ab")
    assert one != result_hash(1, [True, None], rows[1:], "ab")
