"""The life of an attack in a run: members, schedules, mixtures, memory, every hook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar

import pytest
import torch

from attacks import Attack, AttackView, load
from attacks.memory import Memory
from attacks.schedule import Schedule
from secure_fl.backends.aggregate import open_backend
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_config
from secure_fl.simulation.attack_round import begin, training_rows
from secure_fl.simulation.attackers import Attackers, Part, seat_order
from secure_fl.simulation.context import RunContext
from secure_fl.simulation.parties import make_hospitals, make_server
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.rehearsal import dry_run
from secure_fl.simulation.round import run_round
from secure_fl.simulation.round_ledger import Nobody
from secure_fl.simulation.run import RunConfig, make_attackers, make_context, open_session
from tests.support.attacked import EVERYBODY, N, context_of, rounds, scene, sent, settings, start


@pytest.fixture(scope="module")
def federation() -> Federation:
    return prepare(settings())


# --- who and when


def test_a_schedule_says_which_rounds() -> None:
    acts = [n for n in range(1, 13) if Schedule(start=3, until=10, every=3).acts(n, 0.0)]
    assert acts == [3, 6, 9]
    assert not Schedule(probability=0.4).acts(1, 0.4)


def plan(*parts: Part, count: int = 10, moving: bool = False, of: int = 20) -> Attackers:
    return Attackers(parts, seat_order(0, of, "fixed"), count, 0, 400, moving)


def test_a_probability_is_the_share_of_rounds() -> None:
    attackers = plan(Part(load("sign_flip"), Schedule(probability=0.25)))
    acting = [bool(attackers.acting(number)) for number in range(1, 401)]
    assert 70 <= sum(acting) <= 130
    assert acting == [bool(attackers.acting(number)) for number in range(1, 401)]


def test_members_drawn_each_round_are_as_many_and_change() -> None:
    attackers = plan(Part(load("sign_flip")), moving=True)
    drawn = [attackers.members(number)[0] for number in range(1, 401)]
    assert {len(seats) for seats in drawn} == {10}
    counts = Counter(seat for seats in drawn for seat in seats)
    assert set(counts) == set(attackers.ever) == set(range(20))
    assert 150 <= min(counts.values()) <= max(counts.values()) <= 250


def test_members_with_most_data() -> None:
    rows = [5, 9, 1, 9, 7]
    order = seat_order(0, 5, "most_data", rows)
    assert sorted(order[:2]) == [1, 3]
    assert order[2:] == (4, 0, 2)


def test_parts_of_a_mixture_divide_the_members() -> None:
    parts = [Part(load("sign_flip"), share=s) for s in (0.5, 0.3, 0.1)]
    groups = plan(*parts).members(1)
    assert [len(group) for group in groups] == [5, 3, 1]
    assert len({seat for group in groups for seat in group}) == 9  # the tenth stays honest


def test_a_share_without_a_hospital_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"mixture: the share of .* must give .* of the 3 malicious .* got 0.1"
    ):
        plan(Part(load("ipm"), share=0.1), Part(load("alie"), share=0.9), count=3)


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("attack.schedule.start=0", "schedule.start must be >= 1"),
        ("attack.schedule={start: 5, until: 3}", "schedule.until must be >= schedule.start, 5"),
        ("attack.schedule.probability=0", r"schedule.probability must be in \(0, 1\]"),
        ("attack.schedule.evry=2", "unknown key attack.schedule.evry"),
        ("attack.members=some", "attack.members must be one of fixed, each_round, most_data"),
        ("attack.mixture=[{name: alie, share: 0.7}, {name: ipm, share: 0.4}]", "below 1 in sum"),
        ("attack.mixture=[{name: alie, share: 1.5}]", "above 0 and below 1"),
        ("attack.mixture=[{name: alie}]", "attack.mixture, each entry's share must be given"),
        ("attack.mixture=[{name: alie, share: x}]", "mixture, each entry's share must be of type"),
        ("attack.mixture=[{name: alie, sahre: 1}]", r"entry's sahre \(did you mean share\?\)"),
        ("attack.mixture=[alie]", r"attack.mixture\[0\] must be of type {name, share, params"),
        (
            "attack.mixture.share=0.5",
            r"attack.mixture is a list, set whole: attack.mixture=\[...\]",
        ),
        ("attack.mixture=[{name: nothing, share: 0.5}]", "attack must be one of"),
        ("attack.mixture=[{name: alie, share: 0.5, params: {y: 1}}]", "parameter of alie"),
    ],
)
def test_refusals(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(["attack=sign_flip", override])


def test_settings_reach_the_attackers(federation: Federation) -> None:
    config = settings(
        "attack=sign_flip",
        "attack.members=most_data",
        "attack.schedule.every=2",
        "attack.mixture=[{name: ipm, share: 0.4, params: {epsilon: 3.0}, schedule: {start: 2}}]",
    )
    (attack,) = config.attacks
    assert attack.label == "sign_flip_and_ipm"
    attackers = make_attackers(RunConfig(config, config.defences[0], attack, 0.5), federation.rows)
    first, second = attackers.parts
    assert (second.attack, second.schedule) == (load("ipm", {"epsilon": 3.0}), Schedule(start=2))
    assert first.schedule == Schedule(every=2)
    assert [len(group) for group in attackers.members(1)] == [1, 2]
    least = min(federation.rows[seat] for seat in attackers.ever)
    assert least >= max(federation.rows[seat] for seat in set(EVERYBODY) - set(attackers.ever))


def test_the_settings_hash_knows_nothing_of_defaults() -> None:
    plain = AttackConfig("sign_flip")
    assert set(plain.identity) == {"name", "params", "overstate"}
    moved = AttackConfig("sign_flip", members="each_round")
    assert moved.identity["members"] == "each_round"


def test_in_rounds_off_schedule_attackers_act_as_honest_ones(federation: Federation) -> None:
    on = context_of(federation, "attack=label_flip", "attack.schedule.start=2")
    clean = make_context(RunConfig(settings(), on.defence, AttackConfig("none"), 0.0), federation)
    state = start(federation)
    assert torch.equal(sent(on, state, 1), sent(clean, state, 1))
    late, honest = sent(on, state, 2), [i for i in EVERYBODY if i not in on.malicious]
    assert torch.equal(late[honest], sent(clean, state, 2)[honest])
    always = context_of(federation, "attack=label_flip")
    assert torch.equal(late, sent(always, state, 2))
    assert not torch.equal(late, sent(clean, state, 2))


def test_a_mixture_does_what_its_parts_do(federation: Federation) -> None:
    mixed = context_of(
        federation, "attack=sign_flip", "attack.mixture=[{name: label_flip, share: 0.34}]"
    )
    (flips, labels) = mixed.attackers.members(1)
    state = start(federation)
    apart = {
        name: sent(context_of(federation, f"attack={name}"), state)
        for name in ("sign_flip", "label_flip")
    }
    rows = sent(mixed, state)
    assert torch.equal(rows[list(flips)], apart["sign_flip"][list(flips)])
    assert torch.equal(rows[list(labels)], apart["label_flip"][list(labels)])


def test_a_schedule_that_never_fires_is_warned_of(federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", "attack.schedule.start=9")
    with pytest.warns(UserWarning, match=r"acts in none of the 2 planned rounds: .*start=9"):
        dry_run(context)


# --- what it remembers


@dataclass(frozen=True)
class Counting(Attack):
    """Sends how many rounds it remembers."""

    stop: str = ""

    def init(self, view: AttackView) -> Memory:
        return {"begun": 0, "acted": 0}

    def prepare(self, view: AttackView) -> Memory:
        return {**view.memory, "begun": view.memory["begun"] + 1}

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        acted = view.memory["acted"] + 1
        memory = {**view.memory, "acted": [acted] if self.stop == "list" else acted}
        return torch.full_like(own, 1e-3 * acted), memory


def test_memory_is_handed_from_round_to_round(federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", attack=Counting())
    attackers = replace(
        context.attackers, parts=(Part(Counting(), Schedule(start=2, every=2)),), rounds=5
    )
    played = rounds(replace(context, attackers=attackers), federation, 5)
    assert [each.state.memories[0] for each in played] == [
        None,
        {"begun": 1, "acted": 1},
        {"begun": 1, "acted": 1},
        {"begun": 2, "acted": 2},
        {"begun": 2, "acted": 2},
    ]


def test_what_cannot_be_stored_is_not_remembered(federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", attack=Counting("list"))
    with pytest.raises(InputError, match="memory of attack Counting, 'acted', must be a tensor"):
        sent(context, start(federation))


# --- what it does to rows, training, rings and shares


@dataclass(frozen=True)
class Rows(Attack):
    """Writes its rank and the round into its rows."""

    every_round: ClassVar[bool] = True

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return torch.full_like(x, (view.rank + 10 * view.round) / 100), y.clone()


def test_rows_can_depend_on_the_member_and_the_round(federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", attack=Rows())
    begun = scene(context, start(federation), 3)
    splits = training_rows(begun, begin(begun))
    for rank, seat in enumerate(context.malicious):
        assert splits[seat].x.unique().tolist() == [pytest.approx((rank + 20) / 100)]
    for seat in set(EVERYBODY) - set(context.malicious):
        assert splits[seat] is federation.data.hospitals[seat]


@dataclass(frozen=True)
class Leashed(Attack):
    """Trains inside a ball, on some coordinates alone."""

    radius: float = 0.01
    free: int = 50

    def constrain(
        self, params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, view: AttackView
    ) -> torch.Tensor:
        kept = gradient.clone()
        kept[:, self.free :] = 0
        return kept

    def project(self, params: torch.Tensor, start: torch.Tensor, view: AttackView) -> torch.Tensor:
        away = params - start
        return start + away * (self.radius / away.norm(dim=1, keepdim=True)).clamp(max=1)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_hooks_in_training_bind_their_rows_and_no_others(
    optimizer: str, federation: Federation
) -> None:
    override = f"train.optimizer={optimizer}"
    context = context_of(federation, "attack=none", override, "train.lr=0.05", attack=Leashed())
    context = replace(context, attackers=replace(context.attackers, count=3))
    free = replace(context, attackers=replace(context.attackers, parts=(Part(Attack()),)))
    bound, unbound = sent(context, start(federation)), sent(free, start(federation))
    malicious = list(context.malicious)
    honest = [i for i in EVERYBODY if i not in malicious]
    assert len(malicious) == 3
    assert torch.equal(bound[honest], unbound[honest])
    assert torch.count_nonzero(bound[malicious][:, 50:]) == 0
    assert (bound[malicious].norm(dim=1) <= 0.01001).all()
    assert (unbound[malicious].norm(dim=1) > 0.02).all()


@dataclass(frozen=True)
class Encoded(Attack):
    """Shares one integer everywhere."""

    value: int = 2**40 + 3

    def encode(self, integers: torch.Tensor, bits: int, view: AttackView) -> torch.Tensor:
        return torch.full_like(integers, self.value + view.rank)


def test_what_is_encoded_is_read_modulo_the_width(federation: Federation) -> None:
    """The largest of three sent integers wins where a maximum does; the same in both worlds."""
    updates = {}
    for defence in ("fedavg", "robust"):
        choice = ("attack=none", f"defences=[{defence}]", "defence.backend=fixed")
        config = settings(*choice)
        run = RunConfig(config, config.defences[0], AttackConfig("sign_flip"), 0.5)
        context = make_context(run, federation)
        attackers = replace(context.attackers, parts=(Part(Encoded()),))
        context = with_cheats(context, attackers, federation)
        server = make_server(federation, context.defence, context.options, 0)
        with open_backend("fixed") as backend:
            session = open_session(run, federation, backend, context.hospitals)
            played = run_round(context, server, Nobody(N), session, start(federation), 1)
        updates[defence] = played.state.update
    assert updates["fedavg"].abs().min() > 2**20  # 2^40 steps of 2^-16, in the full ring
    assert updates["robust"].abs().max() < 8  # 2^40 modulo the width is nothing


def with_cheats(context: RunContext, attackers: Attackers, federation: Federation) -> RunContext:
    hospitals = make_hospitals(federation.data.hospitals, cheats=attackers.ever)
    return replace(context, attackers=attackers, hospitals=hospitals)


@dataclass(frozen=True)
class Absent(Attack):
    """Withholds every share for node 1."""

    def misbehave(self, view: AttackView) -> Sequence:
        return [(rank, "withheld_share", 1) for rank in range(view.num_malicious)]


def test_breaches_need_nodes_that_sign(federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", attack=Absent())
    with pytest.raises(SecureFLError, match="must have backend: mpc and ledger: true"):
        dry_run(context)
