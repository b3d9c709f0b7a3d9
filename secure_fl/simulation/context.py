"""What a run's rounds share, and what one hands to the next."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from attacks import Attack
from attacks.memory import Memory
from secure_fl.aggregation import Pipeline
from secure_fl.data import Split
from secure_fl.federation import Federation
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.options import TrainOptions
from secure_fl.server.validation import Validator
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.simulation.attackers import Attackers


@dataclass(frozen=True)
class RunContext:
    """What stays the same over the rounds of a run.

    Attributes:
        config: settings of the experiment.
        defence: the defence of this run.
        rule: its rule.
        federation: data, model and initial parameters.
        attackers: who attacks, how and when.
        splits: rows that each hospital trains on where it attacks, if it does: poisoned, where that
            is done once; clean otherwise.
        claims: number of rows that each hospital says it has.
        options: local training.
        hospitals: them, who hold those rows.
        validators: them, in order of seat.
    """

    config: ExperimentConfig
    defence: DefenceConfig
    rule: Pipeline
    federation: Federation
    attackers: Attackers
    splits: list[Split]
    claims: tuple[int, ...]
    options: TrainOptions
    hospitals: tuple[Hospital, ...]
    validators: tuple[Validator, ...]

    @property
    def attack(self) -> Attack:
        """The attack whose success is measured."""
        return self.attackers.parts[0].attack

    @property
    def malicious(self) -> tuple[int, ...]:
        """Seats of the hospitals that attack in some round, ascending."""
        return self.attackers.ever


@dataclass(frozen=True)
class State:
    """What one round hands to the next.

    Attributes:
        model: float32 (d,), the last model that was kept.
        suspended: bool (n,), hospitals that the chain keeps out.
        reputation: of each hospital on the chain, in [0, 1]; None before round 1 or without one.
        server: the server's own state.
        stopped: whether the server expects nothing of further rounds.
        accepted: the last round's verdicts by seat, None: absent; None before round 1.
        update: float64 (d,), the last combined update; None before round 1.
        memories: what each part of the attack remembers; None for one that has not acted yet.
        rule_states: the rule's own state in the clear, where an attack knows the rule.
    """

    model: torch.Tensor
    suspended: torch.Tensor
    reputation: list[float] | None = None
    server: Any = None
    stopped: bool = False
    accepted: Sequence[bool | None] | None = None
    update: torch.Tensor | None = None
    memories: tuple[Memory | None, ...] = ()
    rule_states: tuple[Any, ...] | None = None

    @property
    def measured_memory(self) -> Memory | None:
        """What the attack remembers whose success is measured; None before it acts."""
        return self.memories[0] if self.memories else None
