"""Parts of the paper's evaluation: what each shows, and the settings whose cells it is made of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from secure_fl.checks import check_name
from secure_fl.settings.attackers import AttackConfig, ScheduleConfig
from secure_fl.settings.config import load_config
from secure_fl.settings.schema import ExperimentConfig

# Attackers who know of the defence and change their updates to pass it (section 4.4.1).
ADAPTIVE = (
    "norm_hugging",
    "cosine_hugging",
    "adaptive_backdoor",
    "full_information_backdoor",
    "reputation_gaming",
)
# What `--quick` changes: whether the command works, not what it measures.
QUICK = ("rounds=2", "train.epochs=1")


@dataclass(frozen=True)
class Part:
    """One table, figure or section.

    Attributes:
        title: heading.
        experiments: files of `configs/experiment/` whose cells it shows; none for a table of
            settings.
        settings: further settings of these.
        late: attacks begin after half of the rounds.
        shared: its cells run under MPC one after another, since they measure time and traffic.
        tasks: it shows tasks (`eval.paper.goals`) in place of data sets, each method but FedAvg and
            root only under every attack.
        quick: what `--quick` changes besides.
    """

    title: str
    experiments: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()
    late: bool = False
    shared: bool = False
    tasks: bool = False
    quick: tuple[str, ...] = ()


PARTS: dict[str, Part] = {
    "table1": Part("Table 1: parameters"),
    "table2": Part("Table 2: accuracy and attack success", ("table2",)),
    "section41": Part("Section 4.1: ten hospitals", ("section41",)),
    "fig3": Part("Figure 3: convergence, and poisoning over rounds", ("fig3a", "fig3b")),
    "fig4": Part("Figure 4: attack success against the share of malicious hospitals", ("fig4",)),
    "adaptive": Part(
        "Section 4.4.1: adaptive attackers",
        ("table2",),
        (f"attacks=[{', '.join(ADAPTIVE)}]",),
    ),
    "reputation": Part("Section 4.4.2: reputations and suspensions", ("table2",)),
    "fig5": Part("Figure 5: accuracy under a persistent backdoor", ("fig5",)),
    "drift": Part("Section 3.8: model drift detection", ("table2",), late=True),
    "table3": Part("Table 3: cost, under MPC", ("table3",), shared=True),
    "defence": Part(
        "The defence: federated gain kept, attacks held, attackers found",
        ("defence",),
        tasks=True,
        quick=("malicious=0.4", "attacks=[label_flip, backdoor]"),
    ),
}


def chosen(names: Sequence[str] | None) -> list[str]:
    """Names of parts in the paper's order; all of them for None.

    Raises:
        ConfigError: a name that is none.
    """
    for name in names or ():
        check_name("--only", name, list(PARTS))
    return [name for name in PARTS if names is None or name in names]


def settings_of(
    name: str,
    data: str,
    settings: Sequence[str],
    seed: int,
    mpc: bool,
    more: Sequence[str] = (),
) -> list[ExperimentConfig]:
    """Checked settings of a part, one for each of its experiments.

    Args:
        name: of the part.
        data: data set by name.
        settings: as on the command line; they win over the part's own.
        seed: of all that is not secret, of how the data are divided too.
        mpc: whether methods run as they are deployed; else those under MPC run in the clear with
            the integers of MPC, which give the same result to the last bit, and those of tasks as
            floats and without a ledger.
        more: settings of a task; `settings` win over them.

    Raises:
        ConfigError: a key, name or value that does not fit.
    """
    part, made = PARTS[name], []
    for experiment in part.experiments:
        lines = [f"experiment={experiment}", *part.settings, f"data={data}", *more, *settings]
        config = load_config([*lines, f"seed={seed}"])
        if not (mpc or part.shared):
            clear = _bare if part.tasks else _in_clear
            config = _with(config, defences=[clear(each) for each in config.defences])
        if part.late:
            onset = late_onset(config.rounds)
            config = _with(config, attacks=[_from(each, onset) for each in config.attacks])
        made.append(config)
    return made


def late_onset(rounds: int) -> int:
    """The first round after half of them."""
    return rounds // 2 + 1


def _with(config: ExperimentConfig, **changed: Any) -> ExperimentConfig:
    made = replace(config, **changed)
    made.permit(config.extensions)
    return made


def _in_clear(defence: Any) -> Any:
    return replace(defence, backend="fixed") if defence.backend == "mpc" else defence


def _bare(defence: Any) -> Any:
    """A method as floats, without a ledger, whose reputations then weigh nothing."""
    return replace(defence, backend="plain", ledger=False, reputation=False)


def _from(attack: AttackConfig, onset: int) -> AttackConfig:
    return replace(attack, schedule=ScheduleConfig(start=onset))
