"""What malicious hospitals may know in a round: what the attack declares, and no more.

Every attack knows what its own hospitals see by taking part. All else is a *fact* that its class
declares in `knowledge`; what is not declared is not handed over at all.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, NamedTuple, Protocol

import torch

from attacks.memory import EMPTY, Memory

# What an attack can declare beyond its hospitals' own rows and updates.
FACTS: Mapping[str, str] = MappingProxyType(
    {
        "honest": "the honest hospitals' updates of this round",
        "rule": "the aggregation rule, and what it would make of given updates",
        "server": "what the server makes of the combined update: damping, gate and last tuning",
        "model": "the broadcast model, as parameters and as a network to differentiate",
        "reputations": "reputations, suspensions and last verdicts of all hospitals",
        "previous": "the combined update of the last round",
        "benign": "what its own hospitals would have trained on clean rows",
        "auxiliary": "the validators' public rows",
    }
)
# Short words for common declarations.
WORDS: Mapping[str, tuple[str, ...]] = MappingProxyType({"own": (), "omniscient": ("honest",)})


class NotKnown(RuntimeError):
    """An attack read what it did not declare."""


class Network(Protocol):
    """The federation's network as a differentiable function of its parameters."""

    feature_shape: tuple[int, ...]
    classes: int
    shapes: tuple[tuple[int, ...], ...]

    def logits(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """Logits (n, B, classes) of n networks (n, d) on a batch each, (n, B, *features)."""

    def hidden(self, params: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
        """What the last layer of each takes in, (n, B, width), where that is known.

        Raises:
            ValueError: of a module of somebody's own it is not.
        """

    def gradients(
        self, params: torch.Tensor, x: torch.Tensor, y: torch.Tensor, weight: torch.Tensor
    ) -> torch.Tensor:
        """Gradients (n, d) of the weighted cross-entropies, weights (n, B)."""


class Outcome(NamedTuple):
    """What a rule makes of updates.

    Attributes:
        update: float64 (d,), the combined update.
        accepted: bool (n,), whose update was not rejected, in the order in which they were given.
    """

    update: torch.Tensor
    accepted: torch.Tensor


def knowledge_of(declared: str | Sequence[str]) -> frozenset[str]:
    """The facts that a declaration stands for: a word of `WORDS`, or facts one by one.

    Raises:
        ValueError: no such word or fact.
    """
    if isinstance(declared, str):
        if declared not in WORDS:
            rule = f"{', '.join(WORDS)} or a tuple of {', '.join(FACTS)}"
            raise ValueError(f"knowledge must be {rule}; got {declared!r}")
        return frozenset(WORDS[declared])
    strange = sorted(set(declared) - FACTS.keys())
    if strange:
        raise ValueError(f"knowledge must be among {', '.join(FACTS)}; got {strange}")
    return frozenset(declared)


@dataclass(frozen=True, eq=False)
class AttackView:
    """All that malicious hospitals may use in a round, besides the updates they hold.

    Attributes:
        round: number of the round, from 0.
        num_hospitals: n, those that take part in this round, malicious ones included.
        num_malicious: f of them that this attack has, from 1 to n.
        rng: the attackers' source of randomness.
        clip_norm: bound on an update's norm that the federation enforces, or None.
        classes: C, of the data; labels are 0 to C - 1.
        members: seats of the attack's hospitals that take part, ascending.
        rank: which of them a hook is called for, from 0; None where it is called for all.
        step: number of the local training step, from 0; None outside training.
        memory: what the attack remembers.
        rows: clean rows (x, y) of each of `members`.
        attack: name of the attack's class, for errors.
        facts: what it declared, by name of the field, each as a function that gives it.
    """

    round: int
    num_hospitals: int
    num_malicious: int
    rng: torch.Generator
    clip_norm: float | None = None
    classes: int = 2
    members: tuple[int, ...] = ()
    rank: int | None = None
    step: int | None = None
    memory: Memory = field(default_factory=lambda: EMPTY)
    rows: Sequence[tuple[torch.Tensor, torch.Tensor]] = ()
    attack: str = "attack"
    facts: Mapping[str, Callable[[], Any]] = field(default_factory=dict)

    def _tell(self, fact: str, name: str) -> Any:
        if name not in self.facts:
            raise NotKnown(
                f"attack {self.attack} reads view.{name}, which is {FACTS[fact]}: it must declare "
                f"{fact!r} in its knowledge"
            )
        return self.facts[name]()

    @property
    def global_model(self) -> torch.Tensor:
        """The broadcast model, float (d,). Knowledge: model."""
        return self._tell("model", "global_model")

    @property
    def network(self) -> Network:
        """The network that `global_model` parametrises. Knowledge: model."""
        return self._tell("model", "network")

    @property
    def defence(self) -> str:
        """Name of the aggregation rule. Knowledge: rule."""
        return self._tell("rule", "defence")

    @property
    def rule(self) -> Mapping[str, Any]:
        """The rule as data: its stages with parameters, and `max_abs`. Knowledge: rule."""
        return self._tell("rule", "rule")

    @property
    def limit(self) -> float:
        """Coordinates must be below this in magnitude to be taken. Knowledge: rule."""
        return self._tell("rule", "limit")

    def simulate(self, updates: torch.Tensor) -> Outcome:
        """What the rule would make of updates, in the clear, in its state of this round.

        Updates are clipped as hospitals clip theirs; privacy noise is left out, and so is whatever
        follows from commitments of this round: random groups are others. Knowledge: rule.

        Args:
            updates: float (n, d), rows that stand for the hospitals outside the attack first (as
                many as `honest` has, where the attack knows it), then those of `members`.

        Raises:
            ValueError: another number of rows.
        """
        outcome: Outcome = self._tell("rule", "simulate")(updates)
        return outcome

    def candidate(self, update: torch.Tensor) -> torch.Tensor:
        """The model that the server would make of a combined update in this round, float32 (d,).

        It is what validators test next; what they say is not foretold. Knowledge: server.

        Args:
            update: float (d,), as of `simulate`.

        Raises:
            ValueError: another length.
        """
        model: torch.Tensor = self._tell("server", "candidate")(update)
        return model

    def publish(self, update: torch.Tensor) -> torch.Tensor:
        """What the server would publish if the run ended with that candidate, float32 (d,).

        A tuning after the last round is made in full: where there is one this is dear (a second and
        more), where there is none it is the candidate. Knowledge: server.

        Args:
            update: float (d,), as of `simulate`.

        Raises:
            ValueError: another length.
        """
        model: torch.Tensor = self._tell("server", "publish")(update)
        return model

    @property
    def reputation(self) -> torch.Tensor:
        """Float64 (N,) in [0, 1], of all hospitals by seat; ones without a ledger.

        Knowledge: reputations.
        """
        return self._tell("reputations", "reputation")

    @property
    def suspended(self) -> torch.Tensor:
        """Bool (N,), who is kept out. Knowledge: reputations."""
        return self._tell("reputations", "suspended")

    @property
    def accepted(self) -> Sequence[bool | None]:
        """Verdicts of the last round by seat, None: absent; all None in the first round.

        Knowledge: reputations.
        """
        return self._tell("reputations", "accepted")

    @property
    def previous_update(self) -> torch.Tensor:
        """Float64 (d,), the last round's combined update; zero in the first. Knowledge: previous.

        Hospitals can take it from two broadcast models, where the server adds it as it is.
        """
        return self._tell("previous", "previous_update")

    @property
    def benign(self) -> torch.Tensor:
        """Float32 (f, d), what `members` would have trained on clean rows. Knowledge: benign."""
        return self._tell("benign", "benign")

    @property
    def auxiliary(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The validators' public rows (x, y). Knowledge: auxiliary."""
        return self._tell("auxiliary", "auxiliary")


# Which fact each field of a view belongs to.
FIELDS: Mapping[str, str] = MappingProxyType(
    {
        "global_model": "model",
        "network": "model",
        "defence": "rule",
        "rule": "rule",
        "limit": "rule",
        "simulate": "rule",
        "candidate": "server",
        "publish": "server",
        "reputation": "reputations",
        "suspended": "reputations",
        "accepted": "reputations",
        "previous_update": "previous",
        "benign": "benign",
        "auxiliary": "auxiliary",
    }
)


def told(known: frozenset[str], facts: Mapping[str, Callable[[], Any]]) -> dict[str, Any]:
    """Of all facts those that an attack with this knowledge is handed."""
    return {name: tell for name, tell in facts.items() if FIELDS[name] in known}
