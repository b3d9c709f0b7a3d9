"""A run: the rounds of one defence against one attack, from a federation to a folder of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING, Any

import torch

from attacks import Attack
from secure_fl import seeds
from secure_fl.backends.session import Backend, Session
from secure_fl.data import Split
from secure_fl.errors import ConfigError, InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.files import canonical_json, sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.hospital.training import TrainOptions, check_device
from secure_fl.nodes.contract import Contract
from secure_fl.server.samples import LARGEST_CLAIM
from secure_fl.settings.ledger import PLACES
from secure_fl.settings.schema import (
    AttackConfig,
    DefenceConfig,
    ExperimentConfig,
    malicious_count,
)
from secure_fl.simulation.frame import rounds_frame
from secure_fl.simulation.parties import make_hospitals, make_validators, signs
from secure_fl.simulation.round import RunContext, State, craft
from secure_fl.simulation.secret import CellSecrets

if TYPE_CHECKING:
    import pandas

    from ledger.members.members import Members

Row = dict[str, Any]
Observe = Callable[[int, torch.Tensor], Row]
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
    """

    model: torch.Tensor
    malicious: tuple[int, ...]
    rows: list[Row]
    openings: list[Row]
    closing: Row
    chain_head: str | None
    ledger_ms: float

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
        return self.attack.name == "none" or self.fraction == 0.0

    @property
    def malicious(self) -> int:
        """How many hospitals are."""
        return 0 if self.clean else malicious_count(self.fraction, self.experiment.data.hospitals)

    @property
    def sha256(self) -> str:
        """Hash of all settings of this run, which its first record carries.

        Where data, keys and the ledger's node are is no setting; nor are the other cells of the
        job and its name. The device counts where it is not the processor.
        """
        experiment = asdict(self.experiment)
        for key in ("name", "description", "attacks", "defences", "malicious"):
            del experiment[key]
        del experiment["data"]["path"]
        if experiment["train"]["device"] == "cpu":
            del experiment["train"]["device"]
        for key in PLACES:
            del experiment["ledger"][key]
        settings = [experiment, asdict(self.defence), asdict(self.attack), self.fraction]
        return sha256(canonical_json(settings).encode())


def choose_malicious(seed: int, hospitals: int, fraction: float) -> tuple[int, ...]:
    """Malicious hospitals, ascending: the first of one random order, so a larger share holds the
    smaller one."""
    order = seeds.numpy_generator(seed, "malicious").permutation(hospitals)
    return tuple(sorted(int(i) for i in order[: malicious_count(fraction, hospitals)]))


def poison(
    attack: Attack, splits: Sequence[Split], malicious: Sequence[int], seed: int
) -> list[Split]:
    """Training rows of every hospital, after the attack changed those of the malicious ones.

    Raises:
        ConfigError: the attack's parameters do not fit the data.
    """
    result = list(splits)
    for i in malicious:
        rng = seeds.torch_generator(seed, "poison", i)
        try:
            x, y = attack.poison(splits[i].x, splits[i].y, rng)
        except ValueError as error:
            raise ConfigError(f"attack {attack}: {error}") from error
        result[i] = Split(x, y)
    return result


def dry_run(context: RunContext) -> None:
    """Let the attack act on made-up updates, before anything runs.

    It acts among all hospitals, and as if suspensions had left one honest hospital, none, one
    malicious hospital, or that one alone.

    Raises:
        ConfigError: its classes are not those of the data, it cannot act among so many hospitals,
            or there is no device to train on.
        InputError: it returned updates of another shape, or values that are not finite.
    """
    federation, attack = context.federation, context.attack
    check_device(context.options.device)
    classes = range(federation.data.classes)
    for key in ("source_class", "target_class"):
        value = getattr(attack, key, None)
        if value is not None and value not in classes:
            raise ConfigError(
                f"attack {attack}: {key} must be from 0 to {classes[-1]}, the classes of the data"
            )
    nobody = torch.zeros(federation.hospitals, dtype=torch.bool)
    state = State(federation.initial, nobody)
    shape = (federation.hospitals, federation.model.num_parameters)
    updates = 0.01 * torch.randn(
        shape, generator=seeds.torch_generator(0, "craft", 0), dtype=torch.float32
    )
    for active in _rehearsed(context.malicious, federation.hospitals):
        malicious = sum(i in context.malicious for i in active)
        place = f"among {len(active)} hospitals, {malicious} of them malicious"
        try:
            sent = craft(context, state, 1, active, updates)
        except SecureFLError:
            raise
        except (ValueError, ArithmeticError, LookupError, RuntimeError) as error:
            raise ConfigError(f"attack {attack}, {place}: {error}") from error
        if not sent.isfinite().all():
            raise InputError(f"attack {attack} must return finite values; it does not {place}")


def _rehearsed(malicious: Sequence[int], hospitals: int) -> list[list[int]]:
    """Whom to try it with: everybody, and what suspensions may leave."""
    everybody = list(range(hospitals))
    honest = [i for i in everybody if i not in malicious]
    few = [[*honest[:1], *malicious], [*malicious], [*malicious[:1], *honest], [*malicious[:1]]]
    return [everybody, *(sorted(active) for active in few)]


def train_options(config: RunConfig) -> TrainOptions:
    """How hospitals, and the server on its root, train in a run."""
    options = TrainOptions(**asdict(config.experiment.train))
    if config.defence.proximal_mu is not None:
        options = replace(options, proximal_mu=config.defence.proximal_mu)
    return options


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
    seed = config.experiment.seed
    attack = config.attack.build(config.experiment.extensions)
    malicious = (
        () if config.clean else choose_malicious(seed, federation.hospitals, config.fraction)
    )
    splits = poison(attack, federation.data.hospitals, malicious, seed)
    return RunContext(
        config=config.experiment,
        defence=config.defence,
        federation=federation,
        attack=attack,
        malicious=malicious,
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
        ),
        validators=make_validators(
            federation.data.validators, contract, () if members is None else members.validators
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
