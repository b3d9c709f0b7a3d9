"""A run: the rounds of one defence against one attack, from a federation to a folder of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from attacks.base import overrides
from attacks.memory import Memory
from secure_fl.backends.session import Backend, Session
from secure_fl.data import Split
from secure_fl.faults import Fault, check_places
from secure_fl.federation import Federation
from secure_fl.files import canonical_json, sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.options import TrainOptions
from secure_fl.nodes.contract import Contract
from secure_fl.server.samples import LARGEST_CLAIM
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import NEUTRAL, DefenceConfig
from secure_fl.settings.ledger import PLACES
from secure_fl.settings.schema import (
    LATER_DATA,
    DataConfig,
    ExperimentConfig,
    malicious_count,
)
from secure_fl.simulation.attack_round import poisoned_once
from secure_fl.simulation.attacked_validators import liars
from secure_fl.simulation.attackers import Attackers, Part, seat_order
from secure_fl.simulation.context import RunContext
from secure_fl.simulation.frame import rounds_frame
from secure_fl.simulation.labels import label_of
from secure_fl.simulation.parties import make_hospitals, make_validators, signs
from secure_fl.simulation.secret import CellSecrets

if TYPE_CHECKING:
    import pandas

    from ledger.members.members import Members

Row = dict[str, Any]
# Extra fields of a row from round, model kept, and what the measured attack remembers then.
Observe = Callable[[int, torch.Tensor, Memory | None], Row]
# The same, of somebody who asks for the model alone.
ObserveModel = Callable[[int, torch.Tensor], Row]
Report = Callable[[Row, torch.Tensor], object]


@dataclass(frozen=True)
class RunResult:
    """Outcome of a run.

    Attributes:
        model: float32 (d,), the final model.
        malicious: indices of the malicious hospitals.
        rows: what `rounds.jsonl` holds, one row a round, the initial model first.
        openings: what `openings.jsonl` holds, one row an opening.
        closing: what `closing.json` holds: how the final model was judged and recorded.
        chain_head: hash of the chain's newest block; None without a ledger.
        ledger_ms: CPU milliseconds of ledger work in all rounds.
        memory: what the attack remembers in the end whose success is measured; None: it never
            acted.
    """

    model: torch.Tensor
    malicious: tuple[int, ...]
    rows: list[Row]
    openings: list[Row]
    closing: Row
    chain_head: str | None
    ledger_ms: float
    memory: Memory | None = None

    @property
    def frame(self) -> pandas.DataFrame:
        """The rounds as a pandas data frame, one row each (`secure_fl.simulation.frame`)."""
        return rounds_frame(self.rows, self.malicious)


@dataclass(frozen=True)
class RunConfig:
    """One defence against one attack at one malicious share."""

    experiment: ExperimentConfig
    defence: DefenceConfig
    attack: AttackConfig
    fraction: float = 0.0

    @property
    def clean(self) -> bool:
        """Whether no hospital is malicious."""
        return self.attack.idle or self.fraction == 0.0

    @property
    def malicious(self) -> int:
        """How many hospitals are."""
        return 0 if self.clean else malicious_count(self.fraction, self.experiment.data.hospitals)

    @property
    def sha256(self) -> str:
        """Hash of all settings of this run, which its first record carries.

        Where data, keys, event files and the ledger's node are is none of them; nor are the other
        cells of the job and its name, how long anybody waits, what joins the nodes and what they
        write down. The device counts where it is not the processor, since a GPU rounds differently.
        """
        experiment = asdict(self.experiment)
        for key in ("name", "description", "tensorboard", "attacks", "defences", "malicious"):
            del experiment[key]
        del experiment["data"]["path"]
        for key in LATER_DATA:
            if experiment["data"][key] == getattr(DataConfig(), key):
                del experiment["data"][key]
        if self.experiment.participation.idle:  # as before there was a choice
            del experiment["participation"]
        if experiment["train"]["device"] == "cpu":
            del experiment["train"]["device"]
        for key in PLACES:
            del experiment["ledger"][key]
        defence = asdict(self.defence)
        for key in NEUTRAL:
            del defence[key]
        # In the place where records of before have their defaults.
        defence |= {"keys": None, "timeout": DefenceConfig.timeout}
        settings = [experiment, defence, self.attack.identity, self.fraction]
        return sha256(canonical_json(settings).encode())


def choose_malicious(run: RunConfig, rows: Sequence[int] | None = None) -> tuple[int, ...]:
    """Seats of the hospitals that attack in some round, ascending, whatever the attack does.

    Args:
        run: whose.
        rows: that each hospital has, where members are those with most.
    """
    return _attackers(run, rows, ()).ever


def make_attackers(run: RunConfig, rows: Sequence[int] | None = None) -> Attackers:
    """Who attacks in a run, how and when; see `choose_malicious`.

    Raises:
        ConfigError: a share of a mixture that gives no whole hospital.
    """
    parts = run.attack.parts(run.experiment.extensions)
    return _attackers(run, rows, tuple(Part(*each) for each in parts))


def _attackers(run: RunConfig, rows: Sequence[int] | None, parts: tuple[Part, ...]) -> Attackers:
    experiment, attack = run.experiment, run.attack
    hospitals = experiment.data.hospitals
    order = seat_order(experiment.seed, hospitals, attack.members, rows)
    moving = attack.members == "each_round"
    planned = experiment.rounds
    return Attackers(
        parts, order, run.malicious, experiment.seed, planned, moving, attack.target_label
    )


def corruptions(run: RunConfig) -> tuple[Fault, ...]:
    """What the attack's computing nodes do, over all rounds.

    Raises:
        ConfigError: a hospital or node that the run does not have.
    """
    if run.clean:
        return ()
    rounds, hospitals = run.experiment.rounds, run.experiment.data.hospitals
    attackers = make_attackers(run, [0] * hospitals)  # whoever its hospitals are
    found = [
        Fault(number, *deed)
        for number in range(1, rounds + 1)
        for index in attackers.acting(number)
        for deed in attackers.parts[index].attack.corrupt()
    ]
    check_places(found, rounds, hospitals, run.defence.nodes)
    return tuple(found)


def poisoned_splits(
    attackers: Attackers, federation: Federation, clip_norm: float | None
) -> list[Split]:
    """Training rows of every hospital, after attacks that poison once changed their members'.

    Raises:
        ConfigError: the attack's parameters do not fit the data.
    """
    result = list(federation.data.hospitals)
    if attackers.moving:
        return result
    for part, seats in zip(attackers.parts, attackers.members(1), strict=True):
        if overrides(part.attack, "poison") and not part.attack.every_round:
            label = label_of(attackers.label, federation.data)
            rows = poisoned_once(part.attack, federation, seats, attackers.seed, clip_norm, label)
            for seat, split in rows.items():
                result[seat] = split
    return result


def train_options(config: RunConfig) -> TrainOptions:
    """How hospitals, and the server on its root, train in a run."""
    options, own = config.experiment.train, config.defence.proximal_mu
    return options if own is None else replace(options, proximal_mu=own)


def make_context(
    config: RunConfig,
    federation: Federation,
    secrets: CellSecrets | None = None,
    contract: Contract | None = None,
    members: Members | None = None,
) -> RunContext:
    """Everything about a run that its rounds share.

    Args:
        config: what to run.
        federation: data and model.
        secrets: of this cell, from which all simulated hospitals draw; None: from the operating
            system.
        contract: that hospitals and validators sign for, with a ledger.
        members: whose keys they get, with a contract.
    """
    attackers = make_attackers(config, federation.rows)
    malicious = attackers.ever
    clip_norm = config.experiment.privacy.clip_norm
    splits = poisoned_splits(attackers, federation, clip_norm)
    return RunContext(
        config=config.experiment,
        defence=config.defence,
        rule=config.defence.build(config.experiment.extensions),
        federation=federation,
        attackers=attackers,
        splits=splits,
        claims=tuple(
            LARGEST_CLAIM if config.attack.overstate and i in malicious else rows
            for i, rows in enumerate(federation.rows)
        ),
        options=train_options(config),
        hospitals=make_hospitals(
            splits,
            secrets,
            contract,
            () if members is None else members.hospitals,
            config.experiment.faults if signs(config.defence) else (),
            malicious if attackers.cheats() else (),
        ),
        validators=make_validators(
            federation.data.validators,
            contract,
            () if members is None else members.validators,
            liars(attackers, len(federation.data.validators)),
        ),
    )


def open_session(
    config: RunConfig, federation: Federation, backend: Backend, hospitals: Sequence[Hospital]
) -> Session:
    """A session of the defence's rule for these hospitals."""
    return backend.session(
        config.defence.build(config.experiment.extensions),
        hospitals,
        federation.model.num_parameters,
    )
