"""Settings as a person types them, `key=value`, one a word of the command line.

A word that ends in `.yaml` is a file of settings, nested as in a run's `config.yaml`.

The grammar is Hydra's. In it blanks, brackets, commas, `~`, `=` and letters beyond ASCII have to be
quoted; where a setting is a text, such as a path, they stand for themselves here.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, Transformer
from hydra.errors import OverrideParseException

from secure_fl.errors import ConfigError
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig
from secure_fl.settings.yaml_file import read_mapping

# Settings that are paths: a `~` at their begin is the home folder, since the shell leaves it.
PATHS = ("data.path", "defence.keys", "defence.transcript", "defence.state", "ledger.keystore")

_FILES = (".yaml", ".yml")
# What a file chooses by the `name` in a mapping, and sets by what else is in it.
_CHOSEN = ("data", "model", "attack", "defence")
# Below these stand names of attacks, rules, stages, data and models.
_NAMING = (*_CHOSEN, "attacks", "defences")
# Settings that are mappings as a whole.
_WHOLE = ("defence.rule",)
_OWN = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


@dataclass(frozen=True)
class Setting:
    """One setting: its full key, as typed, and its value."""

    key: str
    value: Any


def parse_settings(lines: Sequence[str]) -> list[Setting]:
    """Parse settings; only plain assignments of one value are meaningful here.

    Raises:
        ConfigError: not of the form key=value, or with `${` in it; a file that names code of
            somebody's own.
        InputError: a file that cannot be read.
    """
    settings = []
    for line in lines:
        for setting in _of_file(Path(line)) if is_file(line) else [_of_word(line)]:
            refuse_lookups(setting.value, setting.key)
            if setting.key in PATHS and isinstance(setting.value, str):
                setting = Setting(setting.key, os.path.expanduser(setting.value))
            settings.append(setting)
    return settings


def is_file(line: str) -> bool:
    """Whether a word of the command line names a file of settings."""
    return "=" not in line and line.endswith(_FILES)


def _of_word(line: str) -> Setting:
    key, equals, text = line.partition("=")
    if equals and key in text_keys():
        return Setting(key, _text(line, text))
    return _assignment(line)


def _of_file(path: Path) -> Iterator[Setting]:
    """The settings in a file, which may come from anybody: it permits no code.

    Raises:
        ConfigError: it names code of somebody's own.
        InputError: it cannot be read, or holds no settings.
    """
    for key, value in read_mapping(path).items():
        held = dict(value) if isinstance(value, dict) and key in _CHOSEN else {}
        if "name" in held:
            listed = [Setting(key, held.pop("name")), *_nested(key, held)]
        else:
            listed = list(_nested(key, value))
        for setting in listed:
            named = next(_own_names(setting.value), None) if key in _NAMING else None
            if named is not None:
                raise ConfigError(
                    f"{path} names {named!r} in {setting.key}, code of your own: name that on the "
                    "command line, which permits it"
                )
            yield setting


def _nested(key: str, value: Any) -> Iterator[Setting]:
    """Single settings out of nested mappings."""
    if not isinstance(value, dict) or key in _WHOLE:
        yield Setting(key, value)
        return
    for name, below in value.items():
        yield from _nested(f"{key}.{name}", below)


def _own_names(value: Any) -> Iterator[str]:
    """What in a value is of the form `module:name`, keys included."""
    if isinstance(value, dict):
        for key, below in value.items():
            yield from _own_names(key)
            yield from _own_names(below)
    elif isinstance(value, list):
        for each in value:
            yield from _own_names(each)
    elif isinstance(value, str) and _OWN.fullmatch(value):
        yield value


def swept_settings(lines: Sequence[str]) -> tuple[list[str], dict[str, list[str]]]:
    """Settings of one value, and by key those of several, `key=a,b`, each written on its own.

    A comma parts values here, of texts too; one within a value stands in quotes or brackets.

    Raises:
        ConfigError: a key that is swept twice.
    """
    single: list[str] = []
    swept: dict[str, list[str]] = {}
    for line in lines:
        override = _sweep(line)
        if override is None:
            single.append(line)
            continue
        key = str(override.key_or_group)
        if key in swept:
            raise ConfigError(f"{key} is swept twice: give its values in one list")
        encoded = override.sweep_iterator(transformer=Transformer.encode)
        swept[key] = [f"{key}={value}" for value in encoded]
    return single, swept


def _sweep(line: str) -> Override | None:
    """A line with several values; None for any other."""
    try:
        override = _hydra(line)
    except OverrideParseException:
        return None
    plain = not (override.is_add() or override.is_force_add() or override.is_delete())
    several = plain and isinstance(override.value(), ChoiceSweep | RangeSweep)
    return override if several else None


@cache
def text_keys() -> frozenset[str]:
    """Keys whose values are texts."""
    return frozenset(
        [
            *_texts(ExperimentConfig, ""),
            *_texts(AttackConfig, "attack."),
            *_texts(DefenceConfig, "defence."),
        ]
    )


def _texts(schema: type, prefix: str) -> Iterator[str]:
    for field in fields(schema):
        if field.type in ("str", "str | None"):
            yield prefix + field.name
        elif isinstance(field.default_factory, type) and is_dataclass(field.default_factory):
            yield from _texts(field.default_factory, f"{prefix}{field.name}.")


def _text(line: str, text: str) -> str | None:
    """A text as Hydra reads it, if it does, or as it stands; null is none."""
    try:
        override = _hydra(line)
    except OverrideParseException:
        return text
    value = None if override.is_sweep_override() else override.value()
    if isinstance(value, str):
        return value
    return None if text.strip() == "null" else text


def _assignment(line: str) -> Setting:
    try:
        override = _hydra(line)
    except OverrideParseException as error:
        reason = f": {str(error).splitlines()[0]}" if "=" in line else ""
        raise ConfigError(f"override {line!r} is not of the form key=value{reason}") from error
    if not override.key_or_group:
        raise ConfigError(f"override {line!r} is not of the form key=value: it has no key")
    if override.is_add() or override.is_force_add() or override.is_delete():
        raise ConfigError(f"override {line!r}: write key=value; + and ~ have no use here")
    if override.is_sweep_override():
        raise ConfigError(f"override {line!r}: give one value, or a list as key=[a, b]")
    return Setting(override.key_or_group, override.value())


def _hydra(line: str) -> Override:
    (override,) = OverridesParser.create().parse_overrides([line])
    return override


def refuse_lookups(value: Any, key: str = "") -> None:
    """Refuse `${...}`, which OmegaConf would look up in the environment or in other keys.

    Raises:
        ConfigError: naming the key.
    """
    if isinstance(value, dict):
        for name, below in value.items():
            refuse_lookups(name, f"a key below {key}" if key else "a key")
            refuse_lookups(below, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list | tuple):
        for index, below in enumerate(value):
            refuse_lookups(below, f"{key}[{index}]")
    elif isinstance(value, str) and "${" in value:
        raise ConfigError(f"{key} must be a plain value; got {value!r}: ${{...}} is not looked up")
