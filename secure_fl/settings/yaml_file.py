"""Read YAML that may come from anybody as plain data."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from ledger.files import read_plain
from secure_fl.errors import InputError

MAX_BYTES = 2**20
MAX_DEPTH = 32

_OPENING = (yaml.MappingStartEvent, yaml.SequenceStartEvent)
_CLOSING = (yaml.MappingEndEvent, yaml.SequenceEndEvent)


class _Loader(yaml.SafeLoader):
    """YAML's plain data; a key that stands twice is refused, which the base class lets pass.

    So are numbers to the base of 60, such as `1:30`, which hardly anybody means; reading one takes
    time by the square of its length.
    """

    def construct_yaml_int(self, node: yaml.ScalarNode) -> int:
        """Make a whole number."""
        _refuse_base_60(node)
        return int(super().construct_yaml_int(node))

    def construct_yaml_float(self, node: yaml.ScalarNode) -> float:
        """Make a number."""
        _refuse_base_60(node)
        return float(super().construct_yaml_float(node))

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        """Make a dictionary; `deep` as in the base class."""
        keys = [self.construct_object(key, deep=True) for key, _ in node.value]
        strange = [key for key in keys if not isinstance(key, str)]
        if strange or len(set(keys)) < len(keys):
            raise yaml.YAMLError("keys must be distinct words")
        return super().construct_mapping(node, deep)


def _refuse_base_60(node: yaml.ScalarNode) -> None:
    if ":" in node.value:
        raise yaml.YAMLError(f"{node.value[:60]} must be quoted if it is a word; it is no number")


_Loader.add_constructor("tag:yaml.org,2002:int", _Loader.construct_yaml_int)
_Loader.add_constructor("tag:yaml.org,2002:float", _Loader.construct_yaml_float)


def read_mapping(path: Path) -> dict[str, Any]:
    """Read a YAML file of settings: words, numbers, lists and mappings.

    Raises:
        InputError: missing, malformed, too long or too deep, not a mapping, or with anything but
            plain data in it: tags, aliases, dates, whole numbers of more than 64 bits.
    """
    try:
        text = read_plain(path, MAX_BYTES).decode("utf-8")
        _check_events(text)
        content = yaml.load(text, Loader=_Loader)  # derived from SafeLoader
        _check_plain(content)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except (ValueError, ArithmeticError, yaml.YAMLError) as error:
        reason = " ".join(str(error).split())  # YAML's own message has several lines
        raise InputError(f"cannot read {path}: {reason}") from error
    if not isinstance(content, dict):
        raise InputError(f"{path} must hold settings, key: value")
    return content


def _check_events(text: str) -> None:
    """Refuse deep nesting and aliases before anything is built: both blow up.

    Raises:
        ValueError: naming the line.
    """
    depth = 0
    for event in _events(text):
        depth += isinstance(event, _OPENING) - isinstance(event, _CLOSING)
        line = event.start_mark.line + 1
        if depth > MAX_DEPTH:
            raise ValueError(f"line {line} is nested deeper than {MAX_DEPTH} levels")
        if isinstance(event, yaml.AliasEvent):
            raise ValueError(f"line {line} refers to another place by *{event.anchor}")


def _events(text: str) -> Iterator[Any]:
    yield from yaml.parse(text, Loader=yaml.SafeLoader)


def _check_plain(value: Any) -> None:
    """Refuse what is no plain value, such as a date, bytes or a number of any length.

    Raises:
        ValueError: naming it.
    """
    if isinstance(value, dict):
        for below in value.values():
            _check_plain(below)
    elif isinstance(value, list):
        for below in value:
            _check_plain(below)
    elif isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise ValueError("a whole number must fit into 64 bits")
    elif not (value is None or isinstance(value, str | int | float)):
        raise ValueError(f"{value!r} is not a word or a number")
