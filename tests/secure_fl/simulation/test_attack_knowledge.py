"""What an attack knows of a run: what it declares, told as it is, and no more."""

from __future__ import annotations

from dataclasses import dataclass

import pytest
import torch

from attacks import Attack, AttackView
from attacks.memory import Memory
from secure_fl.errors import ConfigError
from secure_fl.federation import Federation
from secure_fl.settings.attackers import AttackConfig
from secure_fl.simulation.knowledge import facts
from secure_fl.simulation.parties import make_server
from secure_fl.simulation.prepare import prepare
from secure_fl.simulation.rehearsal import dry_run
from secure_fl.simulation.run import RunConfig, make_context
from tests.support.attacked import EVERYBODY, context_of, rounds, scene, sent, settings, start


@pytest.fixture(scope="module")
def federation() -> Federation:
    return prepare(settings())


@dataclass(frozen=True)
class Nosy(Attack):
    """Reads one field of the view."""

    field: str = "reputation"

    def craft(self, honest: torch.Tensor, own: torch.Tensor, view: AttackView) -> torch.Tensor:
        told = getattr(view, self.field)
        return own + 0 * bool((told(own[0]) if callable(told) else told) is None)


@pytest.mark.parametrize(
    "field",
    [
        *("global_model", "network", "defence", "rule", "limit", "reputation", "suspended"),
        *("accepted", "previous_update", "benign", "auxiliary", "candidate", "publish"),
    ],
)
def test_what_is_not_declared_is_not_told(field: str, federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", attack=Nosy(field))
    with pytest.raises(ConfigError, match=rf"attack Nosy reads view\.{field}, .* must declare"):
        dry_run(context)


@dataclass(frozen=True)
class Told(Attack):
    """Declares everything and writes down what it was told."""

    knowledge = ("honest", "rule", "model", "reputations", "previous", "benign", "auxiliary")

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        outcome = view.simulate(torch.cat([honest, own]))
        heard = {
            "simulated": outcome.update,
            "accepted": outcome.accepted,
            "model": view.global_model,
            "previous": view.previous_update,
            "benign": view.benign,
            "reputation": view.reputation,
            "auxiliary": view.auxiliary[0],
            "verdicts": str(view.accepted),
            "honest": honest,
        }
        return own, heard


@pytest.mark.parametrize("defence", ["fedavg", "robust", "guarded", "distilled"])
def test_what_is_told_is_true_and_the_rule_is_simulated(
    defence: str, federation: Federation
) -> None:
    """Over two rounds, so that rules with a state of their own are followed."""
    context = context_of(federation, "attack=sign_flip", f"defences=[{defence}]", attack=Told())
    first, second = rounds(context, federation, 2)
    heard = second.state.memories[0]
    assert heard is not None
    torch.testing.assert_close(heard["simulated"], second.state.update, rtol=1e-9, atol=1e-12)
    assert torch.equal(heard["previous"], first.state.update)
    assert torch.equal(heard["model"], first.state.model)
    assert heard["verdicts"] == str(list(first.state.accepted))
    order = [*(set(EVERYBODY) - set(context.malicious)), *context.malicious]
    assert heard["accepted"].tolist() == [second.state.accepted[i] for i in order]
    assert torch.equal(heard["auxiliary"], federation.data.root.x)
    clean = make_context(
        RunConfig(settings(), context.defence, AttackConfig("none"), 0.0), federation
    )
    honest = sent(clean, first.state, 2)
    malicious = list(context.malicious)
    torch.testing.assert_close(  # before they are clipped
        torch.nn.functional.normalize(heard["benign"], dim=1),
        torch.nn.functional.normalize(honest[malicious], dim=1),
    )


@dataclass(frozen=True)
class Blind(Attack):
    """Knows nobody; writes down what it is shown as honest."""

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        return own, {"same": torch.equal(honest, own)}


@dataclass(frozen=True)
class Foresees(Attack):
    """Asks the server what it will make of the combined update, and publish."""

    knowledge = ("honest", "rule", "server")

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, Memory]:
        update = view.simulate(torch.cat([honest, own])).update
        asked = {"candidate": view.candidate(update), "published": view.publish(update)}
        nothing = torch.zeros_like(update)  # no gain: the server stays where it is
        view.candidate(nothing).zero_()  # what it is handed is its own
        view.publish(nothing).zero_()
        return own, asked


@pytest.mark.parametrize("defence", ["fedavg", "guarded", "distilled"])
def test_what_the_server_will_make_is_foretold_to_the_bit(
    defence: str, federation: Federation
) -> None:
    """Of every round; and who asks changes nothing for the others."""
    short = [] if defence == "fedavg" else ["defence.guard.tune_epochs=1"]
    asked = [f"defences=[{defence}]", *short, "rounds=2", "defence.ledger=false"]
    asked.append("defence.reputation=false")
    context = context_of(federation, "attack=sign_flip", *asked, attack=Foresees())
    server = make_server(federation, context.defence, context.options, 0)
    played = rounds(context, federation, 2)
    for each in played:
        state, heard = each.state, each.state.memories[0]
        assert heard is not None
        assert torch.equal(heard["candidate"], state.model)
        assert torch.equal(heard["published"], server.finish(state.model, state.server))
    still = context_of(federation, "attack=sign_flip", *asked, attack=Attack())
    assert torch.equal(played[-1].state.model, rounds(still, federation, 2)[-1].state.model)


def test_a_server_is_asked_about_updates_of_the_models_length(federation: Federation) -> None:
    context = context_of(federation, "attack=sign_flip", attack=Foresees())
    tell = facts(scene(context, start(federation), 1), [], [0])
    for name in ("candidate", "publish"):
        with pytest.raises(ValueError, match=r"update must be of shape \(.*,\); got \(3,\)"):
            tell[name]()(torch.zeros(3))


def test_who_does_not_know_honest_updates_sees_its_own(federation: Federation) -> None:
    (played,) = rounds(context_of(federation, "attack=sign_flip", attack=Blind()), federation, 1)
    assert played.state.memories[0] == {"same": True}
