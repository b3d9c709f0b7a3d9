"""Cells side by side: planned in groups, run in several processes, each kept when it is done.

A group is one defence with one seed: its cells share a clean run, from which they take base rates.
`eval.jobs.sweep` and `secure-fl matrix` plan and run nothing else.
"""

from __future__ import annotations

import shutil
import socket
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Protocol

from eval.jobs.claims import Cell, check_place, claim
from eval.jobs.parallel import Workers, side_by_side
from eval.jobs.run_lock import only_writer
from eval.jobs.single import Planned, drawn
from eval.results.entries import CLAIM, KEYS
from eval.results.style import ALONE
from secure_fl.data.arrays import arrays_hash
from secure_fl.errors import InputError, SecureFLError, require
from secure_fl.federation import Federation
from secure_fl.files import canonical_json, read_json, sha256, write_atomic, write_json
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import DefenceConfig
from secure_fl.simulation.folder import model_bytes, read_model

Row = dict[str, Any]
# Told cells done, cells in all, and the rows of the group that is done.
Tell = Callable[[int, int, list[Row]], None]
NO_ATTACK = "none"
# How the folder of a run's rounds ends, beside the file that keeps the run when it is done.
ROUNDS = ".rounds"


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
    names_of = [group.defence for group in groups if group.seed == seeds[0]]
    distinct = len(set(names_of)) == len(names_of)
    require(distinct, "defences", "a list without repeated names", names_of)
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


def run_groups(
    plan: Plan,
    jobs: int = 1,
    folder: Path | None = None,
    lenient: bool = False,
    tell: Tell | None = None,
    parallel: str = "loky",
    cluster: str | None = None,
    of: str | None = None,
) -> list[Row]:
    """Run what the folder does not hold yet, and again what failed there.

    Args:
        plan: see `plan_groups`.
        jobs, parallel, cluster: who works side by side (`eval.jobs.parallel.Workers`).
        folder: new, or of a sweep on the same data that was interrupted; None keeps nothing. On a
            cluster one that all workers see under this name.
        of: "sweep" or "matrix", where the folder is that of one (`eval.jobs.claims`).
        lenient: a cell that cannot be run holds the reason (`refused`), and others go on.
        tell: told after each group.

    Returns:
        A row a cell, in the order of the plan; those that cannot be come last.

    Raises:
        InputError: the folder holds something else or runs that the plan leaves out, or another
            process writes there.
    """
    workers = Workers(jobs, parallel, cluster)
    place = None if folder is None else folder.resolve()
    done, made = 0, {}
    with ExitStack() as held:
        if place is not None:
            check_place(place)
            place.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(place))
            data = (group.federation.data_sha256 for group in plan.groups)
            claim(place, data, of, _files(plan.groups, place))
        for index, rows in _results(plan.groups, workers, place, lenient):
            made[index] = rows
            done += len(rows)
            if tell is not None:
                tell(done, plan.cells, rows)
    return [row for index in sorted(made) for row in made[index]] + plan.refused


def _results(
    groups: Sequence[Group], workers: Workers, place: Path | None, lenient: bool
) -> Iterator[tuple[int, list[Row]]]:
    """Index and rows of each group when it is done; those that the folder holds come first."""
    paths = [_paths(group, place) for group in groups]
    held = [all(_is_done(path) for path in each) for each in paths]
    missing = [index for index in range(len(groups)) if not held[index]]
    alone = not workers.elsewhere and min(workers.jobs, len(missing)) < 2
    for index in range(len(groups)):
        if held[index] or alone:
            yield index, _run_group((groups[index], paths[index]), lenient)
    if alone or not missing:
        return
    call = partial(_run_group, lenient=lenient)
    pieces = [(groups[index], paths[index]) for index in missing]
    for number, rows in side_by_side(call, pieces, workers):
        yield missing[number], rows


def _run_group(piece: tuple[Group, Sequence[Path | None]], lenient: bool) -> list[Row]:
    """Rows of a group's cells, those that the folder has read from it.

    Where `lenient`, an attack without a clean run is measured by itself; and again, if the clean
    run succeeds later.

    Raises:
        InputError: the folder is not there, at a worker on another machine.
    """
    group, paths = piece
    if paths[0] is not None and not (paths[0].parent / CLAIM).exists():
        raise InputError(
            f"{paths[0].parent} must be a folder that every worker sees; it is not there on "
            f"{socket.gethostname()}"
        )
    kept = None if paths[0] is None else paths[0].with_suffix(".npy")
    model = read_model(kept) if kept is not None and kept.exists() else None

    def clean() -> Row:
        nonlocal model
        kept_rounds = _journal(paths[0], group.clean)
        row, model = group.clean.measure(group.federation, None, kept_rounds)
        if kept is not None:
            write_atomic(kept, model_bytes(model))
        return row

    tried = paths[0] is not None and paths[0].exists() and not _is_done(paths[0])
    rows = [_row(paths[0], group, (NO_ATTACK, 0.0), group.clean, clean, lenient)]
    if tried and "refused" not in rows[0]:
        for path in paths[1:]:
            if path is not None:
                path.unlink(missing_ok=True)
    for (attack, share, run), path in zip(group.attacked, paths[1:], strict=True):

        def attacked(run: Planned = run, path: Path | None = path) -> Row:
            return run.measure(group.federation, model, _journal(path, run))[0]

        rows.append(_row(path, group, (attack, share), run, attacked, lenient))
    return rows


def _journal(path: Path | None, run: Planned) -> Path | None:
    """Where a long run keeps its rounds until it is done."""
    return None if path is None or not run.resumable else path.with_suffix(ROUNDS)


def _paths(group: Group, place: Path | None) -> list[Path | None]:
    """Where the cells of a group are kept: by the hash of a run's settings, of all parties' rows
    and of the model that it begins with."""
    runs = [group.clean, *(run for _, _, run in group.attacked)]
    if place is None:
        return [None] * len(runs)
    split = arrays_hash(group.federation.data)
    # All begin with the model that the seed draws.
    initial = sha256(model_bytes(drawn(group.federation, group.clean).initial))
    names = [canonical_json([run.config.sha256, split, initial]) for run in runs]
    return [place / f"{sha256(name.encode())}.json" for name in names]


def _files(groups: Sequence[Group], place: Path) -> dict[str, Cell]:
    """What is planned, by the names of the files that keep it."""
    found: dict[str, Cell] = {}
    for group in groups:
        cells = [((NO_ATTACK, 0.0), group.clean), *(((a, s), run) for a, s, run in group.attacked)]
        for path, (of, run) in zip(_paths(group, place), cells, strict=True):
            if path is not None:
                found[path.name] = _named(group, of), asdict(run.config.experiment)
    return found


def _named(group: Group, of: tuple[str, float]) -> Row:
    return dict(zip(KEYS, (group.defence, *of, group.seed), strict=True)) | group.told


def _is_done(path: Path | None) -> bool:
    """Whether a run is kept that did not fail."""
    return path is not None and path.exists() and "refused" not in read_json(path)["measured"]


def _row(
    path: Path | None,
    group: Group,
    of: tuple[str, float],
    planned: Planned,
    run: Callable[[], Row],
    lenient: bool,
) -> Row:
    """A cell's row, from its file or run and written there with settings and hash of the data.

    One that failed is run again: what was in its way may be gone.
    """
    named = _named(group, of)
    if path is not None and _is_done(path):
        # The same run may stand in sweeps of other settings, which name it otherwise.
        measured: Row = read_json(path)["measured"]
        return named | measured
    try:
        measured = run()
    except SecureFLError as error:
        if not lenient:
            raise
        measured = {"refused": str(error)}
    if path is not None:
        begun = {"data_sha256": group.federation.data_sha256}
        settings = {"settings": asdict(planned.config.experiment)}
        write_json(path, {"cell": named, "measured": measured, **begun, **settings})
        rounds = path.with_suffix(ROUNDS)
        if rounds.exists():
            shutil.rmtree(rounds)
    return named | measured
