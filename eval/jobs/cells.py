"""Cells side by side: run in several processes, each kept when it is done.

Clean runs come first, since the attacked ones of their group (`eval.jobs.groups`) take base rates
from them; then each cell goes to whoever is free.
"""

from __future__ import annotations

import shutil
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path

import torch

from eval.jobs.claims import Cell, check_place, claim
from eval.jobs.groups import Group, Plan, Row
from eval.jobs.parallel import Workers, side_by_side
from eval.jobs.run_lock import only_writer
from eval.jobs.single import Planned, drawn
from eval.results.entries import CLAIM, KEYS, read_measured
from eval.results.style import NO_ATTACK
from secure_fl.data.arrays import arrays_hash
from secure_fl.errors import InputError, SecureFLError
from secure_fl.federation import Federation
from secure_fl.files import canonical_json, sha256, write_atomic, write_json
from secure_fl.simulation.folder import model_bytes, read_model

# Told cells done, cells in all, and the rows that are new among them.
Tell = Callable[[int, int, list[Row]], None]
# How the folder of a run's rounds ends, beside the file that keeps the run when it is done.
ROUNDS = ".rounds"


@dataclass(frozen=True)
class _Piece:
    """One run, as a process is handed it.

    Attributes:
        federation: data, model and parties.
        named: columns that say which cell it is.
        run: what to run.
        path: file that keeps its row; None keeps nothing.
        model: file that keeps the model of the group's clean run.
        outdated: of a clean run that failed before: files of rows measured without it.
    """

    federation: Federation
    named: Row
    run: Planned
    path: Path | None
    model: Path | None
    outdated: tuple[Path, ...] = ()

    @property
    def done(self) -> bool:
        """Whether a run is kept that did not fail."""
        path = self.path
        return path is not None and path.exists() and "refused" not in read_measured(path)


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
        plan: see `eval.jobs.groups.plan_groups`.
        jobs, parallel, cluster: who works side by side (`eval.jobs.parallel.Workers`).
        folder: new, or of a sweep on the same data that was interrupted; None keeps nothing. On a
            cluster one that all workers see under this name.
        of: "sweep" or "matrix", where the folder is that of one (`eval.jobs.claims`).
        lenient: a cell that cannot be run holds the reason (`refused`), and others go on. An attack
            without a clean run is measured by itself; and again, if the clean run succeeds later.
        tell: told once what the folder holds already, if anything; then after each cell.

    Returns:
        A row a cell, in the order of the plan; those that cannot be come last.

    Raises:
        InputError: the folder holds something else or runs that the plan leaves out, another
            process writes there, or a worker on another machine does not see it.
    """
    workers = Workers(jobs, parallel, cluster)
    place = None if folder is None else folder.resolve()
    made: dict[tuple[int, int], Row] = {}
    with ExitStack() as held:
        if place is not None:
            check_place(place)
            place.mkdir(parents=True, exist_ok=True)
            held.enter_context(only_writer(place))
        groups = [_pieces(group, place) for group in plan.groups]
        if place is not None:
            data = (group.federation.data_sha256 for group in plan.groups)
            claim(place, data, of, _files(groups))
        for rows in _results(groups, workers, lenient):
            made |= rows
            if tell is not None:
                tell(len(made), plan.cells, [rows[key] for key in sorted(rows)])
    return [made[key] for key in sorted(made)] + plan.refused


def _results(
    groups: Sequence[Sequence[_Piece]], workers: Workers, lenient: bool
) -> Iterator[dict[tuple[int, int], Row]]:
    """Rows by group and place in it: what is held at once, then each when it is done."""
    pieces = {(i, j): piece for i, group in enumerate(groups) for j, piece in enumerate(group)}
    # Without its clean run an attacked one may have to be measured again.
    clean = {i for i, group in enumerate(groups) if group[0].done}
    kept = {
        key: piece.named | read_measured(piece.path)
        for key, piece in pieces.items()
        if piece.path is not None and key[0] in clean and piece.done
    }
    if kept:
        yield kept
    missing = [key for key in pieces if key not in kept]
    models: dict[int, torch.Tensor | None] = {}
    call = partial(_measure, lenient=lenient)
    for key in missing:
        path = pieces[key].path
        if key[1] == 0 and path is not None and path.exists():  # it failed before
            others = tuple(each.path for each in groups[key[0]][1:] if each.path is not None)
            pieces[key] = replace(pieces[key], outdated=others)
    for phase in ([k for k in missing if k[1] == 0], [k for k in missing if k[1] > 0]):
        given = [(pieces[key], models.get(key[0])) for key in phase]
        for number, (row, model) in side_by_side(call, given, workers):
            if phase[number][1] == 0:
                models[phase[number][0]] = model
            yield {phase[number]: row}


def _measure(
    given: tuple[_Piece, torch.Tensor | None], lenient: bool
) -> tuple[Row, torch.Tensor | None]:
    """A cell's row, from its file or run and written there with settings and hash of the data.

    One that failed is run again: what was in its way may be gone.

    Args:
        given: the run; and the model of the group's clean one, where no file keeps it.

    Returns:
        The row; and the model of a clean run that no file keeps.
    """
    piece, model = given
    path = piece.path
    if path is not None and not (path.parent / CLAIM).exists():
        raise InputError(
            f"{path.parent} must be a folder that every worker sees; it is not there on "
            f"{socket.gethostname()}"
        )
    if path is not None and piece.done:
        # The same run may stand in sweeps of other settings, which name it otherwise.
        return piece.named | read_measured(path), None
    try:
        measured, model = _run(piece, model)
    except SecureFLError as error:
        if not lenient:
            raise
        measured, model = {"refused": str(error)}, None
    if path is not None:
        begun = {"data_sha256": piece.federation.data_sha256}
        settings = {"settings": asdict(piece.run.config.experiment)}
        write_json(path, {"cell": piece.named, "measured": measured, **begun, **settings})
        rounds = path.with_suffix(ROUNDS)
        if rounds.exists():
            shutil.rmtree(rounds)
    return piece.named | measured, model


def _run(piece: _Piece, model: torch.Tensor | None) -> tuple[Row, torch.Tensor | None]:
    """What was measured; and the model of a clean run that no file keeps."""
    journal = None
    if piece.path is not None and piece.run.resumable:
        journal = piece.path.with_suffix(ROUNDS)
    if not piece.run.config.clean:
        if piece.model is not None and piece.model.exists():
            model = read_model(piece.model)
        return piece.run.measure(piece.federation, model, journal)[0], None
    row, model = piece.run.measure(piece.federation, None, journal)
    if piece.model is None:
        return row, model
    for path in piece.outdated:
        path.unlink(missing_ok=True)
    write_atomic(piece.model, model_bytes(model))
    return row, None


def _pieces(group: Group, place: Path | None) -> list[_Piece]:
    """The runs of a group, the clean one first."""
    listed = [((NO_ATTACK, 0.0), group.clean), *(((a, s), run) for a, s, run in group.attacked)]
    runs = [run for _, run in listed]
    paths = [None] * len(runs) if place is None else _paths(group, runs, place)
    model = None if paths[0] is None else paths[0].with_suffix(".npy")
    pieces = []
    for (of, run), path in zip(listed, paths, strict=True):
        named = dict(zip(KEYS, (group.defence, *of, group.seed), strict=True)) | group.told
        pieces.append(_Piece(group.federation, named, run, path, model))
    return pieces


def _paths(group: Group, runs: Sequence[Planned], place: Path) -> list[Path | None]:
    """Where the runs of a group are kept: by the hash of a run's settings, of all parties' rows
    and of the model that it begins with."""
    split = arrays_hash(group.federation.data)
    # All begin with the model that the seed draws.
    initial = sha256(model_bytes(drawn(group.federation, group.clean).initial))
    names = [canonical_json([run.config.sha256, split, initial]) for run in runs]
    return [place / f"{sha256(name.encode())}.json" for name in names]


def _files(groups: Sequence[Sequence[_Piece]]) -> dict[str, Cell]:
    """What is planned, by the names of the files that keep it."""
    return {
        piece.path.name: (piece.named, asdict(piece.run.config.experiment))
        for group in groups
        for piece in group
        if piece.path is not None
    }
