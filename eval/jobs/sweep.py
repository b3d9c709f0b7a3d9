"""Sweeps: attacks, defences, shares, seeds and any other setting, side by side.

`secure-fl sweep` is this function with words for arguments.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.jobs.cells import Tell, run_groups
from eval.jobs.gains import add_gains
from eval.jobs.groups import Plan, Row, plan_groups
from eval.jobs.parallel import Workers, check_portable
from eval.jobs.single import plan_cell, plan_run
from eval.results.entries import KEYS, TEXTS
from eval.results.intervals import interval, range_of, within
from eval.results.style import NO_ATTACK
from secure_fl.errors import InputError, require
from secure_fl.federation import Federation
from secure_fl.files import canonical_json, write_atomic
from secure_fl.settings.config import load_config
from secure_fl.settings.overrides import parse_settings, swept_settings
from secure_fl.settings.schema import ExperimentConfig, malicious_fractions
from secure_fl.simulation.prepare import prepare

if TYPE_CHECKING:
    import pandas

TABLE = "runs"
# Measures that a row has unless its run failed.
MEASURED = ("accuracy", "attack_success_excess")
# What settings call the lists that a sweep has of its own: values of these are entries of those.
_LISTS: Mapping[str, str] = {"attack": "attacks", "defence": "defences", "malicious": "malicious"}


@dataclass(frozen=True)
class Sweep:
    """What a sweep measured.

    Attributes:
        rows: one a cell, in the order asked for: of each seed and defence the clean one first.
        swept: names of the settings that differ, beside defence, attack, malicious and seed.
    """

    rows: list[Row]
    swept: tuple[str, ...] = ()

    @property
    def frame(self) -> pandas.DataFrame:
        """The cells as a pandas data frame: what was run, quality, attack success, rounds."""
        import pandas

        return pandas.DataFrame(self.rows)

    def intervals(
        self, measure: str = "accuracy", confidence: float = 0.95, method: str = "t"
    ) -> pandas.DataFrame:
        """Mean of a measure over the seeds with a confidence interval, a row for each other choice.

        Ends beyond the measure's range, as Student's at few seeds may have, are cut at it.

        Args:
            measure: a column of `frame` with numbers.
            confidence: of the interval, between 0 and 1.
            method: "t" (Student) or "bootstrap" (percentiles of 10,000 resamples of the seeds).

        Raises:
            InputError: no such measure or method, or a confidence out of range.

        Columns: defence, attack, malicious, settings that differ, seeds (how many), mean, low,
        high, and the lowest and the highest seed's. With one seed there is no interval: low and
        high are NaN.
        """
        import pandas

        names = (*KEYS[:-1], *self.swept)
        columns = dict.fromkeys((*MEASURED, *(key for row in self.rows for key in row)))
        known = [key for key in columns if key not in (*KEYS, *self.swept, *TEXTS)]
        require(measure in known, "measure", f"one of {', '.join(known)}", measure)
        groups: dict[tuple[Any, ...], list[float]] = {}
        for row in self.rows:
            values = groups.setdefault(tuple(row[key] for key in names), [])
            values += [] if row.get(measure) is None else [float(row[measure])]
        lines = []
        for group, values in groups.items():
            found = interval(values, confidence, method)
            mean, low, high = within(found, range_of(measure))
            ends = (min(values), max(values)) if values else (math.nan, math.nan)
            told = {"seeds": len(values), "mean": mean, "low": low, "high": high}
            told |= dict(zip(("lowest", "highest"), ends, strict=True))
            lines.append(dict(zip(names, group, strict=True)) | told)
        return pandas.DataFrame(lines)

    def save(self, folder: str | Path) -> list[Path]:
        """Write `frame` as `runs.csv` into a folder, and as `runs.parquet` if pyarrow is there.

        Each takes the place of one before, whole; none is written through a link.
        """
        frame, place = self.frame, Path(folder)
        files = {f"{TABLE}.csv": frame.to_csv(index=False).encode()}
        if find_spec("pyarrow") is not None:
            files[f"{TABLE}.parquet"] = frame.apply(_of_one_type).to_parquet(index=False)
        for name, content in files.items():
            write_atomic(place / name, content)
        return [place / name for name in files]


def _of_one_type(column: pandas.Series) -> pandas.Series:
    """A column as Parquet can hold it: values of several types, as those of a setting that may be
    a number or a word, become texts."""
    kinds = {type(value) for value in column.dropna()}
    if len(kinds) < 2 or kinds <= {int, float}:
        return column
    return column.map(str, na_action="ignore")


def sweep(
    federation: Federation | Sequence[str],
    attacks: Sequence[Any] | None = None,
    defences: Sequence[Any] | None = None,
    malicious: float | Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    jobs: int = 1,
    folder: str | Path | None = None,
    *,
    lenient: bool = False,
    tell: Tell | None = None,
    parallel: str = "loky",
    cluster: str | None = None,
    allow: Sequence[str] = (),
    **choices: Any,
) -> Sweep:
    """Run every defence without attack and under every attack at every share, with every seed.

    Args:
        federation: data, model and parties; or settings as on the command line, of which any may
            have several values: `["data=digits", "data.alpha=0.1,0.3", "rounds=5"]`. All
            combinations of these are run.
        attacks, defences: names or objects, as `secure_fl.run` takes them. With settings: names;
            None: those of the settings. On a federation None stands for no attack, and for FedAvg.
        malicious: shares of malicious hospitals; None: those of the settings, or 0.3.
        seeds: each draws malicious hospitals, batches and, but for a module of one's own, the
            initial model, on data divided alike. None: that of the settings, or 0 to 4. Settings
            `seed=0,1` divide the data anew too.
        jobs: processes side by side. With more than one, the calling script needs
            `if __name__ == "__main__":`, and attacks of one's own stand in a file.
        folder: keeps each cell when it is done; a sweep that was interrupted, or one with more
            values, goes on there. None keeps nothing.
        lenient: a cell that fails holds the reason (`refused`), and others go on; where the sweep
            goes on, it is tried again.
        tell: called once with what the folder holds, then after each cell: cells done, cells in
            all, the new rows.
        parallel: by joblib: "loky", processes of this machine; "dask" or "ray", workers of a
            cluster, which all see the folder under its name.
        cluster: address of that; None: the Dask client that this program has, or what Ray finds.
        allow: with settings, further names of code of one's own.
        choices: on a federation, for every cell, as `secure_fl.run` takes them: rounds, backend,
            train, ...

    Raises:
        InputError: nothing to run, two of one name, a folder of a matrix, of other data or with
            runs that this sweep leaves out, another process that writes there.
        SecureFLError: a name, type or value that does not fit; nothing has run then.
    """
    workers = Workers(jobs, parallel, cluster)
    plan, swept = plan_sweep(
        federation, attacks, defences, malicious, seeds, allow=allow, **choices
    )
    if jobs > 1 or workers.elsewhere:
        check_portable([federation, *(attacks or ()), *(defences or ())])
    place = None if folder is None else Path(folder)
    rows = run_groups(plan, jobs, place, lenient, tell, parallel, cluster, "sweep")
    return of_rows(rows, swept)


def of_rows(rows: Sequence[Row], swept: tuple[str, ...]) -> Sweep:
    """The sweep that has these rows, with what follows from several of them: the gain retained."""
    return Sweep(add_gains(rows, ("seed", *swept)), swept)


def plan_sweep(
    federation: Federation | Sequence[str],
    attacks: Sequence[Any] | None = None,
    defences: Sequence[Any] | None = None,
    malicious: float | Sequence[float] | None = None,
    seeds: Sequence[int] | None = None,
    *,
    allow: Sequence[str] = (),
    **choices: Any,
) -> tuple[Plan, tuple[str, ...]]:
    """All cells of a sweep, each checked as settings, and the names of settings that differ.

    Args, Raises: see `sweep`.
    """
    if isinstance(federation, Federation):
        if allow:
            raise InputError("allow goes with settings; objects on a federation are permitted")
        plan = plan_groups(
            partial(plan_run, federation, **choices),
            federation,
            () if attacks is None else attacks,
            ("fedavg",) if defences is None else defences,
            _shares(0.3 if malicious is None else malicious),
            range(5) if seeds is None else seeds,
        )
        return plan, ()
    if isinstance(federation, str) or not isinstance(federation, Sequence):
        raise InputError(
            "federation must be a Federation or a list of settings; got "
            f"{type(federation).__name__}"
        )
    if choices:
        raise InputError(
            f"{', '.join(sorted(choices))} go with a Federation; settings say it in their own list"
        )
    return _of_settings(federation, attacks, defences, malicious, seeds, allow)


def _shares(malicious: Any) -> list[float]:
    return [share for share in malicious_fractions(malicious) if share > 0]


def _of_settings(
    lines: Sequence[str],
    attacks: Sequence[Any] | None,
    defences: Sequence[Any] | None,
    malicious: Any,
    seeds: Sequence[int] | None,
    allow: Sequence[str],
) -> tuple[Plan, tuple[str, ...]]:
    """The cells of all combinations of swept settings."""
    single, swept = swept_settings(lines)
    typed = {line.partition("=")[0] for line in lines}
    for key, given in (("attacks", attacks), ("defences", defences), ("malicious", malicious)):
        if given is not None:
            said = sorted(typed & {key, *(word for word, name in _LISTS.items() if name == key)})
            require(not said, key, f"said once, not by {'= and '.join(said)}= too", given)
            single.append(f"{key}={_typed(key, given)}")
    for word, key in _LISTS.items():
        if word in swept:
            values = [setting.value for setting in parse_settings(swept.pop(word))]
            single.append(f"{key}={_typed(key, values)}")
    require(seeds is None or "seed" not in swept, "seeds", "said once, not by seed= too", seeds)
    plans: list[Plan] = []
    known: dict[str, Federation] = {}
    for chosen in itertools.product(*swept.values()):
        config = load_config([*single, *chosen], allow)
        told = {each.key: _column(each.value) for each in parse_settings(chosen)}
        federation = _prepared(config, known)
        plans.append(
            plan_groups(
                partial(plan_cell, config),
                federation,
                [attack for attack in config.attacks if attack.name != NO_ATTACK],
                config.defences,
                _shares(config.malicious),
                [config.seed] if seeds is None else seeds,
                {key: value for key, value in told.items() if key != "seed"},
            )
        )
    names = tuple(key for key in swept if key != "seed")
    return Plan([group for plan in plans for group in plan.groups]), names


def _typed(key: str, given: Any) -> str:
    """A list as it is typed on the command line.

    Raises:
        InputError: an object, which settings have no words for.
    """
    listed = list(given) if isinstance(given, list | tuple) else [given]
    for entry in listed:
        named = isinstance(entry, str) or key == "malicious"
        require(named, key, "a list of names with settings; objects go with a Federation", entry)
    return json.dumps(listed)


def _column(value: Any) -> Any:
    """A setting's value in a row."""
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _prepared(config: ExperimentConfig, known: dict[str, Federation]) -> Federation:
    """The parties of a combination; those of one with the same data and model are taken again."""
    key = canonical_json([asdict(config.data), asdict(config.model), config.seed])
    if key not in known:
        known[key] = prepare(config)
    return known[key]
