"""Settings as a person types them, `key=value`, one a word of the command line.

The grammar is Hydra's. In it blanks, brackets, commas, `~`, `=` and letters beyond ASCII have to be
quoted; where a setting is a text, such as a path, they stand for themselves here.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields, is_dataclass
from functools import cache
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, RangeSweep, Transformer
from hydra.errors import OverrideParseException

from secure_fl.errors import ConfigError
from secure_fl.settings.attackers import AttackConfig
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import ExperimentConfig

# Settings that are paths: a `~` at their begin is the home folder, since the shell leaves it.
PATHS = ("data.path", "defence.keys", "defence.transcript", "defence.state", "ledger.keystore")


@dataclass(frozen=True)
class Setting:
    """One setting: its full key, as typed, and its value."""

    key: str
    value: Any


def parse_settings(lines: Sequence[str]) -> list[Setting]:
    """Parse settings; only plain assignments of one value are meaningful here.

    Raises:
        ConfigError: not of the form key=value, or with `${` in it.
    """
    settings = []
    for line in lines:
        key, equals, text = line.partition("=")
        if equals and key in text_keys():
            setting = Setting(key, _text(line, text))
        else:
            setting = _assignment(line)
        refuse_lookups(setting.value, setting.key)
        if setting.key in PATHS and isinstance(setting.value, str):
            setting = Setting(key, os.path.expanduser(setting.value))
        settings.append(setting)
    return settings


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
