"""Whose folder it is: cells side by side are kept in that of one sweep or one matrix.

Its table tells of all runs that it holds. A command that would leave some of them out, or that is
of the other kind, is refused before anything runs; one with more values, attacks or seeds goes on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from eval.jobs.run_lock import LOCK
from eval.results.entries import CELL, CLAIM, KEYS, settings_that_differ
from eval.results.records import read_object
from secure_fl.errors import InputError, require
from secure_fl.files import PARTIAL, write_json
from secure_fl.simulation.folder import check_folder

# In CLAIM: hashes of the data, and what the folder's table is of.
DATA, OF = "data_sha256", "of"
# Runs that a refusal names.
_NAMED = 3

# What one run is (`eval.results.entries.KEYS` and settings that differ), and all its settings.
Cell = tuple[Mapping[str, Any], Mapping[str, Any]]


def check_place(place: Path) -> None:
    """Refuse a folder of something else before anything of it is read or written.

    Raises:
        InputError: it is no folder, or holds what no sweep made, or links or pipes
            (`secure_fl.simulation.folder.check_folder`).
    """
    check_folder(place)
    if place.exists() and not (place / CLAIM).exists():
        held = {path.name for path in place.iterdir()} if place.is_dir() else {""}
        require(held <= {LOCK}, "folder", "new or a sweep's", str(place))


def check_own(place: Path, names: Iterable[str], of: str) -> None:
    """Refuse a folder that holds anything but what a command writes there.

    Args:
        place: the folder; it need not be there.
        names: of files and folders that the command writes.
        of: whose folder it may be, for people: "a comparison".

    Raises:
        InputError: it is no folder, or holds something else.
    """
    if not place.exists():
        return
    require(place.is_dir(), "--out", "a folder", str(place))
    own = {name + end for name in names for end in ("", PARTIAL)}  # also of one that was killed
    strange = sorted({path.name for path in place.iterdir()} - own)
    if strange:
        more = ", ..." if len(strange) > _NAMED else ""
        held = ", ".join(strange[:_NAMED]) + more
        raise InputError(f"--out must be new or the folder of {of}; {place} holds {held}")


def claim(place: Path, data: Iterable[str], of: str | None, planned: Mapping[str, Cell]) -> None:
    """Make a folder that of a sweep, or find that the plan goes on with what it holds.

    Args:
        place: the folder, locked.
        data: hashes of the data that the plan is on.
        of: "sweep" or "matrix", whose one table tells of all runs there; None: runs of any plan.
        planned: what is to be run, by the name of its file.

    Raises:
        InputError: it is of other data or of the other kind, or holds runs that are not planned.
    """
    path, hashes = place / CLAIM, sorted(set(data))
    held = read_object(path) if path.exists() else {DATA: []}
    before = held.get(DATA)
    known = isinstance(before, list) and set(before) <= set(hashes)
    require(known, f"{path}", "of a sweep on these data", held)
    kind = held.get(OF, of)
    if kind != of:
        given = "this command" if of is None else f"a {of}"
        raise InputError(f"{place} must be a folder of its own: it is of a {kind}, not of {given}")
    if of is not None:
        _check_extends(place, of, planned)
    said = {DATA: hashes} | ({} if of is None else {OF: of})
    if said != held:
        write_json(path, said)


def _check_extends(place: Path, of: str, planned: Mapping[str, Cell]) -> None:
    """Refuse a plan without some of the runs that a folder holds.

    Raises:
        InputError: naming the first of them.
    """
    kept = sorted(path for path in place.iterdir() if CELL.fullmatch(path.name))
    missing = [path for path in kept if path.name not in planned]
    if not missing:
        return
    named = "; ".join(_words(read_object(path), planned) for path in missing[:_NAMED])
    more = "; ..." if len(missing) > _NAMED else ""
    raise InputError(
        f"{place} holds {len(kept)} runs, and a {of} that goes on there must name them all; this "
        f"one leaves out {len(missing)}: {named}{more}. Name them too, or another folder"
    )


def _words(held: Mapping[str, Any], planned: Mapping[str, Cell]) -> str:
    """What a kept run is; where one of the same name is planned, by what it differs from that."""
    named, settings = held.get("cell"), held.get("settings")
    if not isinstance(named, Mapping):
        return "a run without a name"
    defence, attack, malicious, seed = (named.get(key) for key in KEYS)
    told = f"{defence}, {attack}, {malicious}, seed {seed}"
    told += "".join(f", {key}={named[key]}" for key in named if key not in KEYS)
    same = [other for name, other in planned.values() if dict(name) == dict(named)]
    if not same or not isinstance(settings, Mapping):
        return told
    differ = settings_that_differ(settings, same[0])
    return told + (f" with {', '.join(f'{k}={v}' for k, v in differ.items())}" if differ else "")
