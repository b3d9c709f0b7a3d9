"""What an attack is: hooks into what malicious hospitals do, from their rows to their shares.

An attack is a frozen dataclass derived from `Attack` and marked `@attack`, alone in a file of this
package; the file's name is the attack's name. An attack of your own is marked alike, in a file of
yours. Its fields are its parameters. It keeps nothing on itself: what it remembers is handed to it
in `view.memory`, and it hands back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import torch

from attacks.memory import EMPTY, Memory
from attacks.parameters import require
from attacks.view import AttackView, knowledge_of

__all__ = [
    "Attack",
    "AttackView",
    "Corruption",
    "Misconduct",
    "Testimony",
    "in_sight",
    "knows",
    "overrides",
    "require",
    "trigger_moves",
]


# Hooks into what malicious hospitals do.
_HOSPITALS = ("poison", "constrain", "project", "craft", "misbehave", "encode")


class Misconduct(NamedTuple):
    """A breach of the protocol by one of the attack's hospitals.

    Attributes:
        rank: which of `view.members`.
        kind: `wrong_share`, `useless_proof`, `short_share`, `withheld_share` or `unsigned_share`
            (`secure_fl.faults`).
        node: the node that the share is for.
    """

    rank: int
    kind: str
    node: int = 0


class Corruption(NamedTuple):
    """What a computing node of the attack does with one share.

    Attributes:
        hospital: seat of the hospital whose share it is.
        kind: `denial` or `denial_without_receipt` (`secure_fl.faults`).
        node: which.
    """

    hospital: int
    kind: str
    node: int = 0


class Testimony(NamedTuple):
    """What a validator says of a model: accuracy, cross-entropy and F1."""

    accuracy: float
    loss: float
    f1: float


@dataclass(frozen=True)
class Attack:
    """Base of all attacks; every hook has a neutral default.

    In a round `prepare` comes first, then `poison` for each malicious hospital, `constrain` and
    `project` in every step of their training, `craft`, `misbehave` and `encode`. Hooks change no
    argument in place.

    Class attributes:
        knowledge: what the attack is told beyond its own: "own" for nothing, "omniscient" for the
            honest hospitals' updates, or a tuple of facts (`attacks.view.FACTS`). Reading anything
            else raises `attacks.view.NotKnown`.
        objective: how success is measured. "label_flip" attacks have `source_class` and
            `target_class`; "backdoor" attacks have `target_class` and `trigger(x)`, and
            `current_trigger` where it changes over rounds.
        finite: whether `craft` returns finite rows for finite ones.
        every_round: whether `poison` is called anew in every round; otherwise rows that were
            poisoned once stay as they are, and `poison` is told no fact.
    """

    knowledge: ClassVar[str | Sequence[str]] = "own"
    objective: ClassVar[str] = "untargeted"
    finite: ClassVar[bool] = True
    every_round: ClassVar[bool] = False

    def init(self, view: AttackView) -> Memory:
        """What the attack remembers when it acts for the first time. Default: nothing.

        Returns:
            Tensors, numbers and strings by name (`attacks.memory`).
        """
        return EMPTY

    def prepare(self, view: AttackView) -> Memory:
        """What the attack remembers when a round begins, before anybody trains. Default: as before.

        Args:
            view: with facts as of the round's beginning; nobody's update is known yet.
        """
        return view.memory

    def poison(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change a malicious hospital's rows before it trains. Default: leave them.

        Args:
            x: float32 (m, *features) in [0, 1].
            y: int64 (m,).
            view: `rank` says which member this is, `num_malicious` of how many; `rng` is its own.

        Returns:
            New tensors of the same types and the same number of features.
        """
        return x.clone(), y.clone()

    def constrain(
        self, params: torch.Tensor, gradient: torch.Tensor, start: torch.Tensor, view: AttackView
    ) -> torch.Tensor:
        """Change malicious hospitals' gradients in a local step. Default: leave them.

        Args:
            params: float32 (k, d), where k of the members are in their training, in no promised
                order: each row is treated by itself.
            gradient: float32 (k, d), on a batch of poisoned rows.
            start: float32 (d,), the broadcast model.
            view: `step` counts from 0.

        Returns:
            float32 (k, d), what the optimiser follows.
        """
        return gradient

    def project(self, params: torch.Tensor, start: torch.Tensor, view: AttackView) -> torch.Tensor:
        """Change malicious hospitals' parameters after a local step. Default: leave them.

        Args:
            params, start, view: as of `constrain`.

        Returns:
            float32 (k, d).
        """
        return params

    def craft(
        self, honest: torch.Tensor, own: torch.Tensor, view: AttackView
    ) -> torch.Tensor | tuple[torch.Tensor, Memory]:
        """Change the malicious hospitals' updates after training. Default: send what was trained.

        Any number of hospitals may be suspended by then: an attack acts from one malicious
        hospital alone to all of them, and returns finite rows for finite ones.

        Args:
            honest: float (h, d), the honest hospitals' updates for an attack that knows them;
                `own` for others, and where no honest hospital takes part. At least one row.
            own: float (f, d), what the malicious hospitals trained, on poisoned rows.
            view: what else they may know.

        Returns:
            float (f, d), new rows; or those and what to remember from now on.
        """
        return own.clone()

    def encode(self, integers: torch.Tensor, bits: int, view: AttackView) -> torch.Tensor:
        """Change what a malicious hospital encodes, where a ring computes. Default: leave it.

        Args:
            integers: int64 (d,), the update in steps of 2^-16, as craft, clip and range left it.
            bits: nodes read what is shared modulo 2^bits.
            view: `rank` says which member this is.

        Returns:
            int64 (d,), any integers.
        """
        return integers

    def current_trigger(self, x: torch.Tensor, memory: Memory) -> torch.Tensor:
        """Rows as success is measured on them. Default: with `trigger`, where there is one.

        An attack whose trigger changes over rounds overrides this; what it remembers after each
        round is then written down beside the model, and its hash into the records.

        Args:
            x: float32 (m, *features) in [0, 1].
            memory: what the attack remembers after the round. Before it acts for the first time
                success is measured with `trigger`.

        Returns:
            A new tensor of the same shape, in [0, 1].
        """
        trigger = getattr(self, "trigger", None)
        return x.clone() if trigger is None else trigger(x)

    def corrupt(self) -> Sequence[Corruption]:
        """What the attack's computing nodes do in every round in which it acts. Default: nothing.

        They are told at their start: it depends on no round and no model. It needs nodes that
        sign, as `misbehave` does.
        """
        return ()

    def dishonest(self, validators: int) -> int:
        """How many of so many validators belong to the attack, the first ones. Default: none."""
        return 0

    def poison_public(
        self, x: torch.Tensor, y: torch.Tensor, view: AttackView
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Change public rows that the attack's validators give. Default: leave them.

        Called once for half A, the root, and once for half B, the holdout; what validators test
        on stays as it is.

        Args:
            x, y: as of `poison`, its validators' share of the half's rows, drawn at random.
            view: of no round; `rng` is of the half.

        Returns:
            As many rows.
        """
        return x.clone(), y.clone()

    def testify(self, measured: Testimony, seat: int) -> Testimony:
        """Change what one of its validators signs. Default: what it measured.

        Args:
            measured: on a candidate or final model.
            seat: of the validator.
        """
        return measured

    @property
    def at_hospitals(self) -> bool:
        """Whether its hospitals do anything: where its validators or nodes act alone, no defence
        can name a hospital rightly. Default: whether it has a hook of theirs."""
        return any(overrides(self, hook) for hook in _HOSPITALS)

    def misbehave(self, view: AttackView) -> Sequence[Misconduct]:
        """Breaches of the protocol to commit in this round. Default: none.

        They need nodes that sign: a defence with a ledger on the mpc backend.
        """
        return ()


# What an attack can do: hooks, of which it overrides some.
HOOKS = (
    *("init", "prepare", "poison", "constrain", "project", "craft", "encode", "misbehave"),
    *("corrupt", "poison_public", "testify"),
)


def knows(attack: Attack, fact: str) -> bool:
    """Whether an attack declares a fact (`attacks.view.FACTS`)."""
    return fact in knowledge_of(attack.knowledge)


def overrides(attack: Attack, hook: str) -> bool:
    """Whether an attack has a hook of its own; what it leaves out need not be called."""
    return getattr(type(attack), hook) is not getattr(Attack, hook)


def trigger_moves(attack: Attack) -> bool:
    """Whether an attack's trigger changes over rounds."""
    return overrides(attack, "current_trigger")


def in_sight(honest: torch.Tensor, own: torch.Tensor) -> torch.Tensor:
    """The updates (m, d) that an omniscient attack takes its statistics from, m >= 1.

    Args:
        honest: float (h, d). Rows that are not finite are left out: they are refused.
        own: float (f, d), the stand-in where no honest update is left.
    """
    finite = honest[honest.isfinite().all(dim=1)]
    return finite if len(finite) else own
