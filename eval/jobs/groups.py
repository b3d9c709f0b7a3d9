"""Cells planned in groups, each checked before any runs (`eval.jobs.cells` runs them).

A group is one defence with one seed: its cells share a clean run, from which they take base rates.
`eval.jobs.sweep`, `secure-fl matrix` and `secure-fl paper` plan and run nothing else.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from eval.jobs.single import Planned
from eval.results.entries import KEYS
from eval.results.style import ALONE, NO_ATTACK
from secure_fl.errors import SecureFLError, require
from secure_fl.federation import Federation
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import DefenceConfig

Row = dict[str, Any]


class PlanCell(Protocol):
    """Checks the settings of one cell."""

    def __call__(self, *, attack: Any, defence: Any, malicious: float, seed: int) -> Planned:
        """The cell; without an attack the share does not matter."""


@dataclass(frozen=True)
class Group:
    """Cells of one seed and defence.

    Attributes:
        federation: data, model and parties.
        told: further columns of its rows.
        seed, defence: of all its cells.
        clean: the run without attack.
        attacked: name of the attack, share and run of each other cell.
    """

    federation: Federation
    told: Row
    seed: int
    defence: str
    clean: Planned
    attacked: list[tuple[str, float, Planned]] = field(default_factory=list)


@dataclass(frozen=True)
class Plan:
    """What is to be run.

    Attributes:
        groups: in the order in which their rows stand.
        refused: rows of the cells that cannot be.
    """

    groups: list[Group]
    refused: list[Row] = field(default_factory=list)

    @property
    def cells(self) -> int:
        """How many cells are to be run."""
        return sum(1 + len(group.attacked) for group in self.groups)


def plan_groups(
    cell: PlanCell,
    federation: Federation,
    attacks: Sequence[Any],
    defences: Sequence[Any],
    shares: Sequence[float],
    seeds: Sequence[int],
    told: Row | None = None,
    lenient: bool = False,
) -> Plan:
    """Every defence without attack and under every attack at every share, with every seed.

    What listens to no hospital (`eval.results.style.ALONE`) is run without attack alone.

    Args:
        cell: checks the settings of one.
        federation: data, model and parties.
        attacks, defences: names or objects; attacks without "none".
        shares: of malicious hospitals, above 0.
        seeds: distinct.
        told: further columns of all rows.
        lenient: a cell that cannot be is refused by itself, and others go on.

    Raises:
        InputError: nothing to run, or two of one name.
        SecureFLError: a cell that cannot be, unless `lenient`.
    """
    _check_lists(attacks, defences, seeds)
    require(bool(shares) or not attacks, "malicious", "above 0 with attacks", list(shares))
    groups: list[Group] = []
    refused: list[Row] = []
    told = told or {}
    for seed in seeds:
        for defence in defences:
            label = _label(defence)
            try:
                clean = cell(attack=None, defence=defence, malicious=0.0, seed=seed)
            except SecureFLError as error:
                if not lenient:
                    raise
                cells = [(NO_ATTACK, 0.0), *((_label(a), s) for a in attacks for s in shares)]
                refused += [_refused(label, *each, seed, told, error) for each in cells]
                continue
            group = Group(federation, told, seed, clean.config.defence.name, clean)
            found: list[tuple[int, float, Planned]] = []
            harmed = () if group.defence in ALONE else attacks
            for index, attack in enumerate(harmed):
                for share in shares:
                    try:
                        run = cell(attack=attack, defence=defence, malicious=share, seed=seed)
                    except SecureFLError as error:
                        if not lenient:
                            raise
                        refused.append(_refused(label, _label(attack), share, seed, told, error))
                    else:
                        found.append((index, share, run))
            names = _attack_names({index: run.config.attack for index, _, run in found})
            group.attacked.extend((names[index], share, run) for index, share, run in found)
            groups.append(group)
    names_of = Counter(group.defence for group in groups if group.seed == seeds[0])
    repeated = [name for name, count in names_of.items() if count > 1]
    require(not repeated, "defences", "a list without repeated names", repeated)
    return Plan(groups, refused)


def _check_lists(attacks: Any, defences: Any, seeds: Any) -> None:
    for name, given in (("attacks", attacks), ("defences", defences), ("seeds", seeds)):
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        require(listed, name, "a list", given)
    for name, given in (("defences", defences), ("seeds", seeds)):
        require(len(given) > 0, name, "a list of at least one", list(given))
    for name, given in (("attacks", attacks), ("seeds", seeds)):
        rule = "distinct" if name == "seeds" else "a list without repetitions"
        require(len(set(map(repr, given))) == len(given), name, rule, list(given))


def _refused(
    defence: str, attack: str, share: float, seed: int, told: Row, error: SecureFLError
) -> Row:
    named = dict(zip(KEYS, (defence, attack, share, seed), strict=True))
    return named | told | {"refused": str(error)}


def _label(given: Any) -> str:
    """What an attack or a defence is called where its settings could not be made."""
    if isinstance(given, AttackConfig):
        return given.label
    return given.name if isinstance(given, DefenceConfig) else str(given)


def _attack_names(listed: Mapping[int, AttackConfig]) -> dict[int, str]:
    """Names of attacks; with their parameters where two have one name."""
    counts = Counter(config.label for config in listed.values())
    names = {}
    for index, config in listed.items():
        params = ", ".join(f"{key}={value}" for key, value in sorted(config.params.items()))
        names[index] = f"{config.label}({params})" if counts[config.label] > 1 else config.label
    told = list(names.values())
    require(len(set(told)) == len(told), "attacks", "a list without repetitions", told)
    return names
