"""Measured runs out of folders: those of a run, and those of a sweep or a matrix, done or not.

A sweep keeps each of its runs in a file of its own, named by a hash; the settings in it are those
of `config.yaml` in a run's folder. Reading is of data alone: nothing is imported for a name there.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from eval.results.records import check_rows, check_words, read_object
from eval.results.style import NO_ATTACK
from ledger.files import printable
from secure_fl.errors import InputError
from secure_fl.files import canonical_json
from secure_fl.settings.config import read_config
from secure_fl.settings.defence import NEUTRAL
from secure_fl.settings.ledger import PLACES
from secure_fl.simulation.folder import check_folder

# What names a run of a sweep beside settings that differ.
KEYS = ("defence", "attack", "malicious", "seed")
# In the folder of a sweep: hashes of the data that it is on.
CLAIM = "sweep.json"
# And a run of its.
CELL = re.compile(r"[0-9a-f]{64}\.json")
# Columns of a measured row that are words, and no figure.
TEXTS = ("model_sha256", "refused")
# Settings that say nothing of a result, or that an entry has by itself.
_LEFT_OUT = {"name", "description", "seed", "malicious", "attacks", "defences", "data.path"}
_LEFT_OUT |= {"tensorboard"}
_LEFT_OUT |= {f"ledger.{key}" for key in PLACES} | {f"defence.{key}" for key in NEUTRAL}
_LEFT_OUT |= {f"defence.{key}" for key in ("name", "label", "paper_method", "description")}
_LEFT_OUT |= {"attack.name"}


@dataclass(frozen=True)
class Entry:
    """One run: what it was, and what was measured.

    Attributes:
        folder: that it stands in, as it was named.
        data: SHA-256 of the data; empty where its folder does not say.
        defence, attack, malicious, seed: what was run; the attack "none" without one.
        settings: all others by their full key, as on the command line; `defence.` and `attack.`
            stand for those of its own.
        measures: figures by name; None where there is none.
        refused: why there are no figures; empty where there are.
    """

    folder: str
    data: str
    defence: str
    attack: str
    malicious: float
    seed: int
    settings: Mapping[str, str]
    measures: Mapping[str, float | None]
    refused: str = ""


def read_entries(folder: Path) -> list[Entry]:
    """All runs of a folder, those of a sweep in the order of their names, without attack first.

    Raises:
        InputError: neither a run's folder nor a sweep's, or one that is damaged.
    """
    check_folder(folder)
    if (folder / CLAIM).exists():
        return _of_sweep(folder)
    if not (folder / "summary.json").exists():
        raise InputError(f"{folder} must be the folder of a run that is done, or of a sweep")
    return _of_run(folder)


def _of_run(folder: Path) -> list[Entry]:
    rows = read_object(folder / "summary.json").get("rows")
    if not isinstance(rows, list) or not rows:
        raise InputError(f"{folder / 'summary.json'} must hold a non-empty list 'rows'")
    config = read_config(folder / "config.yaml")
    data = read_object(folder / "environment.json").get("data_sha256", "")
    attacks = {attack.label: asdict(attack) for attack in config.attacks}
    defences = {defence.name: asdict(defence) for defence in config.defences}
    common = asdict(config)
    entries = []
    for row in check_rows(rows):
        own = {
            "defence": defences.get(row["defence"], {}),
            "attack": attacks.get(row["attack"], {}),
        }
        named = dict(
            zip(KEYS, (row["defence"], row["attack"], row["malicious_fraction"]), strict=False)
        )
        named |= {"seed": row.get("seed", config.seed)}
        entries.append(_entry(folder, str(folder / "summary.json"), data, named, common | own, row))
    return entries


def _of_sweep(folder: Path) -> list[Entry]:
    paths = sorted(path for path in folder.iterdir() if CELL.fullmatch(path.name))
    if not paths:
        raise InputError(f"{folder} must hold a run that is done; it holds none")
    return sorted((_of_cell(path) for path in paths), key=_order)


def _order(entry: Entry) -> tuple[Any, ...]:
    """Without attack first; then by attack, share, the settings that all have, and defence."""
    common = [(k, v) for k, v in entry.settings.items() if not k.startswith("defence.")]
    attacked = entry.attack != NO_ATTACK
    return attacked, entry.attack, entry.malicious, sorted(common), entry.defence, entry.seed


def _of_cell(path: Path) -> Entry:
    held = read_object(path)
    named, measured = held.get("cell"), held.get("measured")
    if not isinstance(named, dict) or not isinstance(measured, dict) or not named.keys() >= {*KEYS}:
        raise InputError(f"{path} must hold 'cell', with {', '.join(KEYS)}, and 'measured'")
    settings = held.get("settings")
    if isinstance(settings, dict):
        told = _of_one_cell(settings)
    else:  # as sweeps left it before they wrote settings
        told = {key: value for key, value in named.items() if key not in KEYS}
    return _entry(path.parent, str(path), held.get("data_sha256", ""), named, told, measured)


def _of_one_cell(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with those of the one defence and the one attack under `defence` and `attack`."""
    own = {key: settings.get(f"{key}s") for key in ("defence", "attack")}
    return {**settings, **{key: listed[0] if listed else {} for key, listed in own.items()}}


def _entry(
    folder: Path,
    place: str,
    data: Any,
    named: Mapping[str, Any],
    settings: Mapping[str, Any],
    measured: Mapping[str, Any],
) -> Entry:
    check_words({**named, "data_sha256": data}, place)
    defence, attack, malicious, seed = (named[key] for key in KEYS)
    typed = isinstance(defence, str) and isinstance(attack, str) and isinstance(data, str)
    if not (typed and _is_number(malicious) and type(seed) is int):
        raise InputError(f"{place} must name its run by two texts, a share and a seed; got {named}")
    flat = {key: value for key, value in _flat(settings) if key not in _LEFT_OUT}
    check_words(flat, place)
    figures = {key: value for key, value in measured.items() if value is None or _is_number(value)}
    refused = measured.get("refused", "")
    return Entry(
        str(folder), data, defence, attack, float(malicious), seed, flat, figures, str(refused)
    )


def read_measured(path: Path) -> dict[str, Any]:
    """What a sweep's file holds of a run: figures, and under `TEXTS` alone words.

    Raises:
        InputError: it cannot be read, or is of another form.
    """
    measured = read_object(path).get("measured")
    if not isinstance(measured, dict):
        raise InputError(f"{path} must hold 'measured', an object; got {type(measured).__name__}")
    for key, value in measured.items():
        if isinstance(value, str) != (key in TEXTS):
            kind = "a text" if key in TEXTS else "a figure"
            place = f"{path}, {printable(key)}"
            raise InputError(f"{place} must be {kind}; got {type(value).__name__}")
    return measured


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _flat(settings: Mapping[str, Any], before: str = "") -> Iterable[tuple[str, str]]:
    """Settings by their full keys, values as one writes them."""
    for key, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{before}{key}.")
        else:
            text = value if isinstance(value, str) else canonical_json(value)
            yield f"{before}{key}", text


def settings_that_differ(settings: Mapping[str, Any], others: Mapping[str, Any]) -> dict[str, str]:
    """Settings of one cell, by their full key, that another lacks or has otherwise; without those
    that say nothing of a result."""
    told = dict(_flat(_of_one_cell(others)))
    return {
        key: value
        for key, value in _flat(_of_one_cell(settings))
        if key not in _LEFT_OUT and told.get(key) != value
    }


def measures_of(entries: Sequence[Entry]) -> list[str]:
    """Names of the figures that some run has, in order of first appearance."""
    held = (key for e in entries for key, value in e.measures.items() if value is not None)
    return list(dict.fromkeys(held))
