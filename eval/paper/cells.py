"""Cells of the paper's parts: planned, run once however many parts show them, and kept."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any

from eval.jobs.cells import Tell, run_groups
from eval.jobs.groups import Group, Plan, plan_groups
from eval.jobs.watched import plan_timed, plan_watched
from eval.paper.goals import TASKS
from eval.paper.parts import PARTS, settings_of
from eval.paper.rows import FEDAVG
from eval.results.style import ALONE, NO_ATTACK, ROOT_ONLY
from secure_fl.errors import require
from secure_fl.federation import Federation
from secure_fl.files import canonical_json
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.config import load_defence
from secure_fl.settings.schema import ExperimentConfig, malicious_fractions
from secure_fl.simulation.prepare import prepare

Row = dict[str, Any]
# Folder of the cells within that of the command.
CELLS = "cells"


@dataclass(frozen=True)
class Wanted:
    """Cells of one part on one data set with one seed, as `eval.jobs.groups` plans them; of a part
    that shows tasks on one task."""

    part: str
    data: str
    groups: tuple[Group, ...]
    task: str = ""


def plan_parts(
    parts: Sequence[str],
    data: Sequence[str],
    seeds: Sequence[int],
    settings: Sequence[str] = (),
    mpc: bool = False,
    tasks: Sequence[str] = (),
    quick: bool = False,
) -> list[Wanted]:
    """All cells, each checked as settings; nothing has run.

    Args:
        parts: names, see `eval.paper.parts.PARTS`.
        data: names of data sets.
        seeds: distinct; each divides the data anew.
        settings, mpc: see `settings_of`.
        tasks: names, see `eval.paper.goals.TASKS`, for the parts that show them.
        quick: whether parts are to be cut down (`Part.quick`).

    Raises:
        SecureFLError: a name or value that does not fit, or data that are not there.
    """
    for key, given in (("data", data), ("seeds", seeds)):
        good = len(given) > 0 and len(set(given)) == len(given)
        require(good, key, "a list without repetitions of at least one", list(given))
    places: list[tuple[str, str]] = [(name, "") for name in data]
    places += [(TASKS[task].data, task) for task in tasks]
    known: dict[str, Federation] = {}
    wanted = []
    for name, task in places:
        for seed in seeds:
            for part in parts:
                kind = PARTS[part]
                if kind.tasks != bool(task):
                    continue
                more = [*(TASKS[task].settings if task else ()), *(kind.quick if quick else ())]
                groups: list[Group] = []
                for config in settings_of(part, name, settings, seed, mpc, more):
                    federation = _prepared(config, known)
                    if task:
                        groups += _on_task(config, federation, task)
                    else:
                        groups += _groups(config, federation, kind.shared)
                wanted.append(Wanted(part, name, tuple(groups), task))
    return wanted


def _harms(config: ExperimentConfig) -> tuple[list[AttackConfig], list[float]]:
    """Attacks and shares of malicious hospitals."""
    attacks = [attack for attack in config.attacks if attack.name != NO_ATTACK]
    return attacks, [share for share in malicious_fractions(config.malicious) if share > 0]


def _on_task(config: ExperimentConfig, federation: Federation, task: str) -> list[Group]:
    """Every method under every attack; FedAvg and what public rows reach by themselves, beside
    which it is told, without."""
    attacks, shares = _harms(config)
    given = {defence.name: defence for defence in config.defences}
    beside = [given.pop(name, None) or load_defence(name) for name in (FEDAVG, *ALONE)]
    plan = partial(plan_groups, partial(plan_watched, config), federation, told={"task": task})
    groups = plan([], beside, [], [config.seed]).groups
    return groups + plan(attacks, list(given.values()), shares, [config.seed]).groups


def _groups(config: ExperimentConfig, federation: Federation, shared: bool) -> list[Group]:
    """Every method under every attack, and what the validators' rows reach by themselves."""
    attacks, shares = _harms(config)
    cell = partial(plan_timed if shared else plan_watched, config)
    plan = plan_groups(cell, federation, attacks, config.defences, shares, [config.seed])
    alone = [] if shared else [load_defence(ROOT_ONLY)]
    if not alone or any(each.name == ROOT_ONLY for each in config.defences):
        return plan.groups
    return plan.groups + plan_groups(cell, federation, [], alone, [], [config.seed]).groups


def _prepared(config: ExperimentConfig, known: dict[str, Federation]) -> Federation:
    key = canonical_json([asdict(config.data), asdict(config.model), config.seed])
    if key not in known:
        known[key] = prepare(config)
    return known[key]


def merged(groups: Sequence[Group]) -> list[Group]:
    """Groups with each cell once: those with the same clean run become one."""
    made: dict[str, Group] = {}
    seen: set[str] = set()
    for group in groups:
        key = group.clean.config.sha256
        if key not in made:
            made[key] = Group(group.federation, group.told, group.seed, group.defence, group.clean)
        for each in group.attacked:
            own = each[2].config.sha256
            if own not in seen:
                seen.add(own)
                made[key].attacked.append(each)
    return list(made.values())


def run_parts(
    wanted: Sequence[Wanted], folder: Path, jobs: int = 2, tell: Tell | None = None
) -> dict[str, list[Row]]:
    """Run what the folder does not hold yet.

    Args:
        wanted: see `plan_parts`.
        folder: of the command; cells lie in folders of their data below it.
        jobs: processes side by side; parts under MPC, whose time counts, run in one.
        tell: called once with what the folder holds, then after each cell.

    Returns:
        Rows by part, each with `data`, `task`, `root_rows`, `defence`, `label`, `paper_method`,
        `attack`, `malicious`, `seed`, `rounds_wanted`, `hospitals`, `validators`, `nodes` and what
        was measured (`eval.jobs.watched`).

    Raises:
        InputError: a folder of something else, or another process that writes there.
    """
    batches = _batches(wanted)
    total = sum(Plan(groups).cells for _, _, groups in batches)
    measured: dict[str, Row] = {}
    done = 0
    for place, shared, groups in batches:

        def told(count: int, _: int, rows: list[Row], before: int = done) -> None:
            if tell is not None:
                tell(before + count, total, rows)

        rows = run_groups(Plan(groups), 1 if shared else jobs, folder / CELLS / place, tell=told)
        measured |= zip(_hashes(groups), rows, strict=True)
        done += len(rows)
    found: dict[str, list[Row]] = {}
    for want in wanted:
        found.setdefault(want.part, []).extend(_named(want, measured))
    return found


def _batches(wanted: Sequence[Wanted]) -> list[tuple[str, bool, list[Group]]]:
    """Groups that run side by side, with the folder they share: those of the same data."""
    together: dict[tuple[str, bool], list[Group]] = {}
    for want in wanted:
        shared = PARTS[want.part].shared
        for group in want.groups:
            place = f"{want.data}-{group.federation.data_sha256[:16]}"
            place += "-timed" if shared else ""
            together.setdefault((place, shared), []).append(group)
    return [(*key, merged(groups)) for key, groups in together.items()]


def _hashes(groups: Sequence[Group]) -> list[str]:
    """Hashes of the cells' settings, in the order of their rows."""
    return [
        run.config.sha256
        for group in groups
        for run in (group.clean, *(run for _, _, run in group.attacked))
    ]


def _named(want: Wanted, measured: Mapping[str, Row]) -> list[Row]:
    """Rows of a part's cells, under the names by which this part knows them."""
    rows = []
    seen: set[str] = set()
    for group in want.groups:
        cells = [(NO_ATTACK, 0.0, group.clean), *group.attacked]
        for attack, share, run in cells:
            config, key = run.config, run.config.sha256
            if key in seen:  # two experiments of one part may ask for the same clean run
                continue
            seen.add(key)
            rows.append(
                measured[key]
                | {
                    "data": want.data,
                    "task": want.task,
                    "root_rows": len(group.federation.data.root.y),
                    "defence": group.defence,
                    "label": config.defence.label or group.defence,
                    "paper_method": config.defence.paper_method,
                    "attack": attack,
                    "malicious": share,
                    "seed": group.seed,
                    "rounds_wanted": config.experiment.rounds,
                    "hospitals": config.experiment.data.hospitals,
                    "validators": config.experiment.data.validators,
                    "nodes": config.defence.nodes,
                }
            )
    return rows
