"""Rules that fields of messages are held to before anything is done with them."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Mapping
from itertools import pairwise
from typing import Any

from secure_fl.counts import MOST_HOSPITALS
from secure_fl.fields import Rule, is_whole, whole

MOST_DIM = 1 << 28
"""Parameters of a model: 2 GiB of words in one update."""

MOST_WORDS = 1 << 31
"""Hospitals times parameters: 16 GiB of words in one round."""

MOST_ROUND = MOST_SESSION = (1 << 53) - 1
"""What every reader of JSON takes for a whole number."""

_LARGEST = sys.float_info.max
_HOSPITAL = re.compile("0|[1-9][0-9]{0,5}")


def _is_number(value: Any, low: float, high: float) -> bool:
    """False for NaN and infinity, which JSON has by way of 1e999, if the bounds are finite."""
    return type(value) in (int, float) and low <= value <= high


def numbers(count: int, high: float = _LARGEST) -> Rule:
    """A list of finite numbers, at least 0 and at most `high`."""
    return Rule(
        f"{count} finite numbers" + (" >= 0" if high == _LARGEST else f" in [0, {high:g}]"),
        lambda value: (
            isinstance(value, list)
            and len(value) == count
            and all(_is_number(one, 0, high) for one in value)
        ),
    )


def hexadecimal(size: int) -> Rule:
    """A text of hexadecimal digits in lower case."""
    digits = re.compile(f"[0-9a-f]{{{2 * size}}}")
    return Rule(
        f"{size} bytes in hexadecimal",
        lambda value: isinstance(value, str) and digits.fullmatch(value) is not None,
    )


HASH, ADDRESS, SIGNATURE = hexadecimal(32), hexadecimal(20), hexadecimal(64)
AMOUNT = Rule("a finite number >= 0", lambda value: _is_number(value, 0, _LARGEST))
MOST_TEXT = 1 << 16
TEXT = Rule(
    f"at most {MOST_TEXT} characters",
    lambda value: isinstance(value, str) and len(value) <= MOST_TEXT,
)


PORT = whole(1, 65535)
SECONDS = Rule(
    "a finite number above 0", lambda value: _is_number(value, 0, _LARGEST) and value > 0
)


def or_null(rule: Rule) -> Rule:
    """A value, or null."""
    return Rule(f"null or {rule.words}", lambda value: value is None or rule.holds(value))


def texts(most: int) -> Rule:
    """A list of texts."""
    return Rule(
        f"a list of at most {most} texts",
        lambda value: (
            isinstance(value, list) and len(value) <= most and all(map(TEXT.holds, value))
        ),
    )


def ports(count: int) -> Rule:
    """A list of ports."""
    return Rule(
        f"{count} whole numbers in 1..65535",
        lambda value: (
            isinstance(value, list) and len(value) == count and all(map(PORT.holds, value))
        ),
    )


def _is_hospital(text: str, hospitals: int) -> bool:
    return _HOSPITAL.fullmatch(text) is not None and int(text) < hospitals


def by_hospital(hospitals: int, each: Rule) -> Rule:
    """A value by number of hospital."""
    return Rule(
        f"{each.words} by hospital, 0..{hospitals - 1}",
        lambda value: (
            isinstance(value, dict)
            and all(_is_hospital(hospital, hospitals) for hospital in value)
            and all(map(each.holds, value.values()))
        ),
    )


def distinct(hospitals: int) -> Rule:
    """Hospitals, each once, ascending."""
    return Rule(
        f"hospitals in 0..{hospitals - 1}, each once, ascending",
        lambda value: (
            isinstance(value, list)
            and all(is_whole(one, 0, hospitals - 1) for one in value)
            and all(one < following for one, following in pairwise(value))
        ),
    )


def flags(count: int) -> Rule:
    """A list of 0 and 1."""
    return Rule(
        f"{count} of 0 and 1",
        lambda value: (
            isinstance(value, list)
            and len(value) == count
            and all(is_whole(one, 0, 1) for one in value)
        ),
    )


def listed(most: int, parts: Mapping[str, Rule]) -> Rule:
    """A list of objects with exactly these fields."""
    words = ", ".join(f"{name}: {rule.words}" for name, rule in parts.items())
    return Rule(
        f"at most {most} objects with {words}",
        lambda value: (
            isinstance(value, list)
            and len(value) <= most
            and all(
                isinstance(one, dict)
                and one.keys() == parts.keys()
                and all(rule.holds(one[name]) for name, rule in parts.items())
                for one in value
            )
        ),
    )


def roots(hospitals: int) -> Rule:
    """Merkle roots by number of hospital."""
    return by_hospital(hospitals, Rule("a root of 32 bytes in hexadecimal", HASH.holds))


def places(hospitals: int, nodes: int) -> Rule:
    """Pairs (hospital, node)."""
    return Rule(
        f"pairs of a hospital in 0..{hospitals - 1} and a node in 0..{nodes - 1}",
        lambda value: (
            isinstance(value, list)
            and all(
                isinstance(pair, list)
                and len(pair) == 2
                and is_whole(pair[0], 0, hospitals - 1)
                and is_whole(pair[1], 0, nodes - 1)
                for pair in value
            )
        ),
    )


VECTORS = ("reference", "model")
"""Public vectors (d,) that an aggregation may be given."""

VECTOR_NAMES = Rule(
    f"a list of {' and '.join(VECTORS)}, or some of them, in this order",
    lambda value: isinstance(value, list) and value == [name for name in VECTORS if name in value],
)


def _is_plain(value: Any) -> bool:
    """Whether all numbers in data, however nested, fit what computes with them."""
    if isinstance(value, dict):
        return all(map(_is_plain, value.values()))
    if isinstance(value, list):
        return all(map(_is_plain, value))
    return isinstance(value, str | bool | None) or (
        math.isfinite(value) if isinstance(value, float) else abs(value) < 1 << 63
    )


RULE = Rule(
    "an object of texts, finite numbers and whole numbers below 2^63",
    lambda value: isinstance(value, dict) and _is_plain(value),
)
"""A rule's data; stages check what it says themselves."""


def _is_contract(value: Any) -> bool:
    return (
        isinstance(value, Mapping)
        and is_whole(value.get("chain_id"), 0, (1 << 256) - 1)
        and ADDRESS.holds(value.get("contract"))
        and isinstance(value.get("hospitals"), list)
        and len(value["hospitals"]) <= MOST_HOSPITALS
        and all(ADDRESS.holds(account) for account in value["hospitals"])
    )


TIES = Rule(
    "null, or chain_id, contract and hospitals: a whole number and addresses of 20 bytes",
    lambda value: value is None or _is_contract(value),
)
"""A contract and its hospitals, where members sign."""
