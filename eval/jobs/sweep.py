"""Sweeps from Python: attacks, defences, shares and seeds on one federation, side by side."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import sys
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.jobs.single import Planned, drawn, plan_run
from eval.results.intervals import interval
from secure_fl.errors import InputError, SecureFLError, require
from secure_fl.federation import Federation
from secure_fl.files import canonical_json, read_json, sha256, write_atomic, write_json
from secure_fl.imports import look_in
from secure_fl.settings.schema import malicious_fractions
from secure_fl.simulation.folder import model_bytes, read_model

if TYPE_CHECKING:
    import pandas

Row = dict[str, Any]
MAX_JOBS = 256
KEYS = ("defence", "attack", "malicious", "seed")


@dataclass(frozen=True)
class Sweep:
    """What a sweep measured.

    Attributes:
        rows: one a cell, in the order asked for: of each seed and defence the clean one first.
    """

    rows: list[Row]

    @property
    def frame(self) -> pandas.DataFrame:
        """The cells as a pandas data frame: what was run, quality, attack success, rounds."""
        import pandas

        return pandas.DataFrame(self.rows)

    def intervals(
        self, measure: str = "accuracy", confidence: float = 0.95, method: str = "t"
    ) -> pandas.DataFrame:
        """Mean of a measure over the seeds with a confidence interval, a row for each other choice.

        Args:
            measure: a column of `frame` with numbers.
            confidence: of the interval, between 0 and 1.
            method: "t" (Student) or "bootstrap" (percentiles of 10,000 resamples of the seeds).

        Raises:
            InputError: no such measure or method, or a confidence out of range.

        Columns: defence, attack, malicious, seeds (how many), mean, low, high. With one seed there
        is no interval: low and high are NaN.
        """
        import pandas

        known = [key for key in self.rows[0] if key not in KEYS and key != "model_sha256"]
        require(measure in known, "measure", f"one of {', '.join(known)}", measure)
        groups: dict[tuple[Any, ...], list[float]] = {}
        for row in self.rows:
            values = groups.setdefault(tuple(row[key] for key in KEYS[:-1]), [])
            values += [] if row[measure] is None else [float(row[measure])]
        lines = []
        for group, values in groups.items():
            mean, low, high = interval(values, confidence, method)
            told = {"seeds": len(values), "mean": mean, "low": low, "high": high}
            lines.append(dict(zip(KEYS[:-1], group, strict=True)) | told)
        return pandas.DataFrame(lines)


@dataclass(frozen=True)
class Group:
    """Cells of one seed and defence: they share a clean run, from which they take base rates.

    Attributes:
        clean: the run without attack.
        attacked: name of the attack, share and run of each other cell.
    """

    seed: int
    defence: str
    clean: Planned
    attacked: list[tuple[str, float, Planned]] = field(default_factory=list)


def sweep(
    federation: Federation,
    attacks: Sequence[Any] = (),
    defences: Sequence[Any] = ("fedavg",),
    malicious: float | Sequence[float] = 0.3,
    seeds: Sequence[int] = range(5),
    jobs: int = 1,
    folder: str | Path | None = None,
    **choices: Any,
) -> Sweep:
    """Run every defence without attack and under every attack at every share, with every seed.

    Args:
        federation: data, model and parties.
        attacks, defences: names or objects, as `secure_fl.run` takes them.
        malicious: shares of malicious hospitals.
        seeds: each draws malicious hospitals, batches and, but for a module of one's own, the
            initial model.
        jobs: processes side by side. With more than one, the calling script needs
            `if __name__ == "__main__":`, and attacks of one's own stand in a file.
        folder: keeps each cell when it is done; a sweep that was interrupted goes on there. None
            keeps nothing.
        choices: for every cell, as `secure_fl.run` takes them: rounds, backend, train, ...

    Raises:
        InputError: nothing to run, two of one name, data of another sweep in the folder.
        SecureFLError: a name, type or value that does not fit; nothing has run then.
    """
    if not isinstance(federation, Federation):
        raise InputError(f"federation must be a Federation; got {type(federation).__name__}")
    require(1 <= jobs <= MAX_JOBS, "jobs", f"from 1 to {MAX_JOBS}", jobs)
    groups = _plan(federation, attacks, defences, malicious, seeds, choices)
    place = None if folder is None else Path(folder)
    if place is not None:
        claim(place, federation)
    if jobs > 1:
        _check_portable([federation, *attacks, *defences])
    made = dict(group_results(federation, groups, jobs, place))
    return Sweep([row for index in range(len(groups)) for row in made[index]])


def _plan(
    federation: Federation,
    attacks: Sequence[Any],
    defences: Sequence[Any],
    malicious: Any,
    seeds: Sequence[int],
    choices: Mapping[str, Any],
) -> list[Group]:
    """All cells, each checked as settings."""
    for name, given in (("attacks", attacks), ("defences", defences), ("seeds", seeds)):
        listed = isinstance(given, Sequence) and not isinstance(given, str)
        require(listed, name, "a list", given)
    require(len(defences) > 0, "defences", "a list of at least one", list(defences))
    require(len(seeds) > 0, "seeds", "a list of at least one", list(seeds))
    require(len(set(seeds)) == len(seeds), "seeds", "distinct", list(seeds))
    shares = [share for share in malicious_fractions(malicious) if share > 0]
    require(bool(shares) or not attacks, "malicious", "above 0 with attacks", malicious)
    groups = []
    for seed in seeds:
        for defence in defences:
            clean = plan_run(federation, attack=None, defence=defence, seed=seed, **choices)
            group = Group(seed, clean.config.defence.name, clean)
            runs = [
                plan_run(federation, attack=a, defence=defence, malicious=s, seed=seed, **choices)
                for a in attacks
                for s in shares
            ]
            names = _attack_names([run.config.attack for run in runs[:: len(shares) or 1]])
            for index, run in enumerate(runs):
                attack, share = divmod(index, len(shares))
                group.attacked.append((names[attack], shares[share], run))
            groups.append(group)
    found = [group.defence for group in groups[: len(defences)]]
    require(len(set(found)) == len(found), "defences", "a list without repeated names", found)
    return groups


def _attack_names(listed: Sequence[Any]) -> list[str]:
    """Names of attacks; with their parameters where two have one name."""
    counts = Counter(config.label for config in listed)
    names = []
    for config in listed:
        params = ", ".join(f"{key}={value}" for key, value in sorted(config.params.items()))
        names.append(f"{config.label}({params})" if counts[config.label] > 1 else config.label)
    require(len(set(names)) == len(names), "attacks", "a list without repetitions", names)
    return names


def _check_portable(objects: Sequence[Any]) -> None:
    """Refuse what another process could not be handed.

    Raises:
        InputError: it cannot be pickled, or its class is in a notebook or a terminal.
    """
    interactive = not hasattr(sys.modules["__main__"], "__file__")
    for thing in objects:
        place = f"{type(thing).__name__}, for jobs above 1,"
        if interactive and type(thing).__module__ == "__main__":
            raise InputError(f"{place} must stand in a file: other processes cannot see a notebook")
        try:
            pickle.dumps(thing)
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(f"{place} must be one that can be pickled: {error}") from error


def group_results(
    federation: Federation,
    groups: Sequence[Group],
    jobs: int,
    place: Path | None,
    lenient: bool = False,
) -> Iterator[tuple[int, list[Row]]]:
    """Run groups side by side; yield each's index and rows when it is done (`run_group`)."""
    if jobs == 1:
        for index, group in enumerate(groups):
            yield index, run_group(federation, group, place, lenient)
        return
    context = multiprocessing.get_context("spawn")  # torch's threads do not survive a fork
    # A module of one's own is found in the current directory there as here.
    places = ([os.getcwd()],)
    with ProcessPoolExecutor(min(jobs, len(groups)), context, look_in, places) as pool:
        waiting = {
            pool.submit(run_group, federation, group, place, lenient): index
            for index, group in enumerate(groups)
        }
        try:
            for done in as_completed(waiting):
                yield waiting[done], done.result()
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def run_group(
    federation: Federation, group: Group, place: Path | None, lenient: bool = False
) -> list[Row]:
    """Rows of a group's cells, those that the folder has read from it.

    Args:
        lenient: a cell that cannot be run holds the reason (`refused`), and others go on; without a
            clean run an attack is measured by itself.
    """
    path = None if place is None else _cell(place, federation, group.clean)
    kept = None if path is None else path.with_suffix(".npy")
    model = read_model(kept) if kept is not None and kept.exists() else None

    def clean() -> Row:
        nonlocal model
        row, model = group.clean.measure(federation, None)
        if kept is not None:
            write_atomic(kept, model_bytes(model))
        return row

    rows = [_row(path, (group.defence, "none", 0.0, group.seed), clean, lenient)]
    for attack, share, run in group.attacked:
        path = None if place is None else _cell(place, federation, run)

        def attacked(run: Planned = run) -> Row:
            return run.measure(federation, model)[0]

        rows.append(_row(path, (group.defence, attack, share, group.seed), attacked, lenient))
    return rows


def _row(path: Path | None, told: tuple[Any, ...], run: Callable[[], Row], lenient: bool) -> Row:
    """A cell's row, from its file or run and written there."""
    if path is not None and path.exists():
        return read_json(path)
    try:
        measured = run()
    except SecureFLError as error:
        if not lenient:
            raise
        measured = {"refused": str(error)}
    row = dict(zip(KEYS, told, strict=True)) | measured
    if path is not None:
        write_json(path, row)
    return row


def claim(place: Path, federation: Federation) -> None:
    """Make the folder of a sweep, or find that it belongs to these data.

    Raises:
        InputError: it holds something else, or a sweep on other data.
    """
    path, said = place / "sweep.json", {"data_sha256": federation.data_sha256}
    if path.exists():
        held = read_json(path)
        require(held == said, f"{path}", "of a sweep on these data", held)
        return
    if place.exists():
        require(
            place.is_dir() and not any(place.iterdir()), "folder", "new or a sweep's", str(place)
        )
    place.mkdir(parents=True, exist_ok=True)
    write_json(path, said)


def _cell(place: Path, federation: Federation, run: Planned) -> Path:
    """Where a cell is kept: by the hash of its settings and of the model that it begins with."""
    initial = sha256(model_bytes(drawn(federation, run).initial))
    return place / f"{sha256(canonical_json([run.config.sha256, initial]).encode())}.json"
