"""Run one defence against one attack from Python: on a federation in memory, or from settings."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from attacks import Attack
from attacks.memory import Memory
from eval.jobs.cell_row import to_name
from eval.jobs.evaluate import Judge, success_columns
from eval.jobs.events import check_events, run_log
from eval.metrics.detection import detection, keyed
from secure_fl.errors import InputError
from secure_fl.federation import Federation
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.objects import experiment, one_cell
from secure_fl.settings.schema import ExperimentConfig, malicious_fractions
from secure_fl.simulation.labels import label_of
from secure_fl.simulation.run import Observe, ObserveModel, Report, RunConfig, RunResult
from secure_fl.simulation.single import opened, run_settings
from secure_fl.simulation.steps import RunSteps


def run(
    federation: Federation | Sequence[str] = (),
    folder: str | Path | None = None,
    *,
    observe: ObserveModel | None = None,
    on_round: Report | None = None,
    **choices: Any,
) -> RunResult:
    """Run one defence against one attack.

    Args:
        federation: data, model and parties (`secure_fl.Federation.from_arrays`); or settings as on
            the command line, such as `["defence=robust", "attack=backdoor", "rounds=10"]`, which
            say all else too.
        folder: new folder for the records; a temporary one by default, removed at the end.
        observe: extra fields of a row, from (round, model kept after it).
        on_round: called after the initial model and after every round with its row and the model
            kept; an exception that it raises ends the run.
        choices: on a federation: attack, defence, malicious, rounds, seed, ... (see `start`).

    Raises:
        SecureFLError: settings, an attack or a rule that do not fit, a folder that exists.

    Example:
        >>> result = run(["data.rows=1500", "data.hospitals=4", "rounds=1", "defence=robust"])
        >>> list(result.frame["status"])
        ['initial', 'unchecked']
    """
    if isinstance(federation, Federation):
        with start(federation, folder, observe=observe, on_round=on_round, **choices) as steps:
            for _ in steps:
                pass
            return steps.finish()
    if isinstance(federation, str) or not isinstance(federation, Sequence):
        raise InputError(
            "federation must be a Federation or a list of settings; got "
            f"{type(federation).__name__}"
        )
    if choices or on_round is not None:
        named = ", ".join(sorted(choices)) or "on_round"
        raise InputError(f"{named} go with a Federation; settings say it in their own list")
    return run_settings(federation, folder, observe=observe)


# Rounds from which on a run keeps what it needs to go on; shorter ones are run again.
LONG = 20


@contextmanager
def start(
    federation: Federation,
    folder: str | Path | None = None,
    *,
    attack: Attack | AttackConfig | str | None = None,
    defence: Any = "fedavg",
    malicious: float = 0.3,
    rounds: int = 10,
    seed: int = 0,
    backend: str | None = None,
    clean: RunResult | None = None,
    observe: ObserveModel | None = None,
    on_round: Report | None = None,
    train: Mapping[str, Any] | None = None,
    privacy: Mapping[str, Any] | None = None,
    participation: Mapping[str, Any] | None = None,
    ledger: Mapping[str, Any] | None = None,
    repeatable_secrets: bool = False,
    threads: int = 1,
) -> Iterator[RunSteps]:
    """A run that the caller plays round by round.

        with secure_fl.start(federation, attack="sign_flip", defence="median") as steps:
            for row in steps:
                print(row["round"], row["test_accuracy"], steps.state.model.norm())
            result = steps.finish()

    Args:
        federation: data, model and parties. The seed draws the initial model, but for a module of
            your own, which brings its parameters.
        folder: see `run`.
        attack: a name, `module:Class`, or an attack; None: nobody is malicious.
        defence: a name (`secure-fl list`), `module:function`, a pipeline as data or as an object, a
            stage, or a `DefenceConfig`.
        malicious: share of malicious hospitals, at most 0.5.
        rounds: most rounds; a guarded server may stop earlier.
        seed: of all draws that are not secret.
        backend: "plain", "fixed" or "mpc"; None: the defence's own.
        clean: result of the same without an attack, whose model untargeted attacks are compared
            with; without it rows do not tell their success.
        observe, on_round: see `run`.
        train, privacy, participation, ledger: single settings, as in YAML: `train={"epochs": 1}`.
        repeatable_secrets, threads: see `secure_fl.settings.schema.ExperimentConfig`.

    Raises:
        SecureFLError: a name, type or value that does not fit; nothing has run then.
    """
    planned = plan_run(
        federation,
        attack=attack,
        defence=defence,
        malicious=malicious,
        rounds=rounds,
        seed=seed,
        threads=threads,
        backend=backend,
        repeatable_secrets=repeatable_secrets,
        train=train,
        privacy=privacy,
        participation=participation,
        ledger=ledger,
    )
    begun = drawn(federation, planned)
    judge = planned.judge(begun)
    baseline = None if clean is None else clean.model

    def measure(number: int, model: torch.Tensor, memory: Memory | None) -> dict[str, Any]:
        raw = None if planned.config.clean or number == 0 else judge.raw(model, baseline, memory)
        measured = {"test_accuracy": judge.quality(model).accuracy, "attack_success": raw}
        return measured | (observe(number, model) if observe else {})

    with opened(planned.config, begun, folder, measure, on_round) as steps:
        yield steps


@dataclass(frozen=True)
class Planned:
    """A run whose settings hold; a process can hand it to another.

    Attributes:
        config: what to run.
    """

    config: RunConfig

    def judge(self, federation: Federation) -> Judge:
        """Measures the run's models."""
        attack = self.config.attack
        label = label_of(attack.target_label, federation.data)
        return Judge(federation, attack.build(self.config.experiment.extensions), label=label)

    def measure(
        self, federation: Federation, clean: torch.Tensor | None, journal: Path | None = None
    ) -> tuple[dict[str, Any], torch.Tensor]:
        """Run, and measure the final model.

        Args:
            federation: data, model and parties.
            clean: final model of the run without attack; None for that run itself.
            journal: see `secure_fl.simulation.single.opened`.

        Returns:
            A row of a sweep, without the names of what was run, and the model (d,).
        """
        begun = drawn(federation, self)
        judge = self.judge(begun)
        start_time = time.perf_counter()
        with (
            run_log(self.config) as log,
            opened(
                self.config, begun, observe=self.observer(judge), report=log, journal=journal
            ) as steps,
        ):
            for _ in steps:
                pass
            result = steps.finish()
        success = None if clean is None else judge.against(result.model, clean, result.memory)
        judges = self.config.defence.build(self.config.experiment.extensions).judges
        named = detection(result.rows, to_name(self.config, result.malicious), judges)
        row = {
            **judge.quality(result.model)._asdict(),
            **success_columns(success),
            **keyed(named),
            "hospitals": federation.hospitals,
            "rounds_run": len(result.rows) - 1,
            "seconds": time.perf_counter() - start_time,
            "model_sha256": result.closing["model_sha256"],
            **self.further(judge, result),
        }
        return row, result.model

    @property
    def resumable(self) -> bool:
        """Whether a run that was cut off goes on from its rounds so far: long, in the clear."""
        return self.config.experiment.rounds >= LONG and self.config.defence.backend != "mpc"

    def observer(self, judge: Judge) -> Observe | None:
        """Who looks at the model of every round; nobody, unless a subclass says so."""
        return None

    def further(self, judge: Judge, result: RunResult) -> dict[str, Any]:
        """What else a row tells; nothing, unless a subclass says so."""
        return {}


def drawn(federation: Federation, planned: Planned) -> Federation:
    """The federation with the initial model of a run's seed."""
    return federation.at(planned.config.experiment.seed)


def plan_run(
    federation: Federation, *, attack: Any = None, defence: Any = "fedavg", **choices: Any
) -> Planned:
    """Settings of a run, checked; see `start` for the choices.

    Raises:
        SecureFLError: a name, type or value that does not fit.
    """
    if not isinstance(federation, Federation):
        raise InputError(f"federation must be a Federation; got {type(federation).__name__}")
    settings = experiment(
        federation.hospitals,
        len(federation.data.validators),
        [] if attack is None or attack == "none" else [attack],
        [defence],
        **choices,
    )
    return _planned(settings)


def plan_cell(
    config: ExperimentConfig, *, attack: Any, defence: Any, malicious: float, seed: int
) -> Planned:
    """One cell with the settings of a job: its attack, defence, share and seed in their place.

    Raises:
        SecureFLError: a name, type or value that does not fit.
    """
    check_events(config.tensorboard)
    return _planned(one_cell(config, attack, defence, malicious, seed))


def _planned(settings: ExperimentConfig) -> Planned:
    acting = settings.attacks[0] if settings.attacks else AttackConfig()
    (fraction,) = malicious_fractions(settings.malicious)
    return Planned(RunConfig(settings, settings.defences[0], acting, fraction))
