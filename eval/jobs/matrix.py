"""Every attack against every rule: many small runs side by side, each kept when it is done.

A cell that cannot be (a rule that cannot bear so many, an attack on a protocol that is not there)
holds the reason in place of figures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.jobs.run_lock import only_writer
from eval.jobs.single import plan_run
from eval.jobs.sweep import KEYS, Group, Row, claim, group_results
from secure_fl.aggregation import build_rule, resolve_rule
from secure_fl.errors import SecureFLError, require
from secure_fl.federation import Federation
from secure_fl.settings.objects import attack_config, defence_config
from secure_fl.settings.schema import DefenceConfig, ExperimentConfig

NO_ATTACK = "none"

Observe = Callable[[int, int, list[Row]], None]


@dataclass(frozen=True)
class Plan:
    """The cells of a matrix.

    Attributes:
        groups: a rule with one seed each: the clean run and those under attack.
        refused: rows of the cells that cannot be.
    """

    groups: list[Group]
    refused: list[Row]

    @property
    def cells(self) -> int:
        """How many cells are to be run."""
        return sum(1 + len(group.attacked) for group in self.groups)


def bare_rule(name: str, params: Mapping[str, Any] | None = None) -> DefenceConfig:
    """A rule alone, in the clear, with a public root direction if it needs one.

    Nothing is opened in the clear, so that no minimum of rows stands in the way.
    """
    given = dict(params or {})
    return DefenceConfig(
        name=name,
        rule=resolve_rule(name),
        params=given,
        reference=build_rule(name, **given).uses_reference,
        minimum_hospitals=1,
        colluders=0,
    )


def plan_matrix(
    federation: Federation,
    attacks: Sequence[Any],
    defences: Sequence[Any],
    malicious: float,
    seeds: Sequence[int],
    config: ExperimentConfig,
) -> Plan:
    """Check every cell's settings.

    Args:
        federation: data, model and parties.
        attacks: names or objects, without "none".
        defences: as `secure_fl.run` takes them; rules alone by `bare_rule`.
        malicious: share of malicious hospitals.
        seeds: distinct.
        config: says rounds, threads, training, privacy and ledger.

    Raises:
        SecureFLError: nothing to run, a repetition, or a name that does not exist.
    """
    for name, given in (("attacks", attacks), ("rules", defences), ("seeds", seeds)):
        require(len(given) > 0, name, "at least one", list(given))
        require(len(set(map(repr, given))) == len(given), name, "distinct", list(given))
    require(0 < malicious <= 0.5, "malicious", "in (0, 0.5]", malicious)
    for attack in attacks:
        attack_config(attack)
    for defence in defences:
        defence_config(defence)
    choices: dict[str, Any] = {
        "rounds": config.rounds,
        "threads": config.threads,
        "train": asdict(config.train),
        "privacy": asdict(config.privacy),
        "ledger": asdict(config.ledger),
    }
    groups: list[Group] = []
    refused: list[Row] = []
    for seed in seeds:
        for defence in defences:
            label = defence.name if isinstance(defence, DefenceConfig) else str(defence)
            try:
                clean = plan_run(federation, defence=defence, seed=seed, **choices)
            except SecureFLError as error:
                told = [NO_ATTACK, *(str(each) for each in attacks)]
                refused += [_refused(label, attack, malicious, seed, error) for attack in told]
                continue
            group = Group(seed, clean.config.defence.name, clean)
            for attack in attacks:
                try:
                    run = plan_run(
                        federation,
                        attack=attack,
                        defence=defence,
                        malicious=malicious,
                        seed=seed,
                        **choices,
                    )
                except SecureFLError as error:
                    refused.append(_refused(label, str(attack), malicious, seed, error))
                else:
                    group.attacked.append((run.config.attack.label, malicious, run))
            groups.append(group)
    return Plan(groups, refused)


def _refused(defence: str, attack: str, malicious: float, seed: int, error: SecureFLError) -> Row:
    share = 0.0 if attack == NO_ATTACK else malicious
    return dict(zip(KEYS, (defence, attack, share, seed), strict=True)) | {"refused": str(error)}


def run_matrix(
    federation: Federation, plan: Plan, folder: Path, jobs: int = 1, observe: Observe | None = None
) -> list[Row]:
    """Run what the folder does not hold yet.

    Args:
        federation, plan: see `plan_matrix`.
        folder: new, or of a matrix on the same data that was interrupted.
        jobs: processes side by side.
        observe: told (cells done, cells in all, rows of the group that is done).

    Returns:
        A row a cell: what was run, and quality, attack success and detection, or `refused`.

    Raises:
        InputError: the folder holds something else, or another process writes there.
    """
    claim(folder, federation)
    with only_writer(folder):
        done, made = 0, {}
        for index, rows in group_results(federation, plan.groups, jobs, folder, lenient=True):
            made[index] = rows
            done += len(rows)
            if observe is not None:
                observe(done, plan.cells, rows)
    return [row for index in sorted(made) for row in made[index]] + plan.refused
