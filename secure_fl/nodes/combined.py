"""The answer to an aggregation: what it opened, and how the coordinator holds it to the rule."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any, NamedTuple

import numpy as np

from secure_fl.aggregation.openings import UPDATE
from secure_fl.fields import Rule
from secure_fl.nodes.commands import Written
from secure_fl.nodes.fields import AMOUNT, HASH, TEXT, by_hospital, flags
from secure_fl.types import Cost, Opening

DTYPES = ("<f8", "<i8", "|b1", "|u1")
"""Of opened values."""


class Asked(NamedTuple):
    """What the coordinator knows of a session, by which its answers are checked.

    Attributes:
        hospitals: how many there are.
        dim: coordinates of an update.
        openings: what its rule declares, with all hospitals in play.
    """

    hospitals: int
    dim: int
    openings: tuple[Opening, ...]


class Combined(NamedTuple):
    """What an aggregation opened.

    Attributes:
        accepted: of each hospital.
        refused: why a share was not taken, by hospital.
        opened: in order.
        digests: SHA-256 of each opened value, by name, hexadecimal.
        values: the opened values, by name.
        seed: of the round's public randomness, 32 bytes.
        cost: of this node.
    """

    accepted: Sequence[bool]
    refused: Mapping[int, str]
    opened: Sequence[Opening]
    digests: Mapping[str, str]
    values: Mapping[str, np.ndarray]
    seed: bytes
    cost: Cost

    def write(self) -> Written:
        """Header and payload."""
        return {
            "accepted": [int(flag) for flag in self.accepted],
            "refused": reasons_written(self.refused),
            "opened": [[o.name, list(o.shape), o.unit] for o in self.opened],
            "digests": dict(self.digests),
            "values": [[name, list(v.shape), v.dtype.str] for name, v in self.values.items()],
            "seed": self.seed.hex(),
            "cost": asdict(self.cost),
        }, b"".join(value.tobytes() for value in self.values.values())

    @classmethod
    def rules(cls, asked: Asked) -> dict[str, Rule]:
        """What each field must be."""
        declared = {opening.name: opening for opening in asked.openings}
        names = ", ".join(declared)

        def opened(value: Any) -> bool:
            return _fits(value, declared) and _unit(value[2]) == _unit(declared[value[0]].unit)

        def layout(value: Any) -> bool:
            return (
                isinstance(value, list)
                and all(_fits(each, declared) and each[2] in DTYPES for each in value)
                and len({each[0] for each in value}) == len(value)
                and any(each[0] == UPDATE for each in value)
            )

        return {
            "accepted": flags(asked.hospitals),
            "refused": by_hospital(asked.hospitals, TEXT),
            "opened": Rule(
                f"name, shape and unit of what the rule declares: {names}",
                lambda value: isinstance(value, list) and all(map(opened, value)),
            ),
            "digests": Rule(
                f"a SHA-256 for each of {names} at most",
                lambda value: (
                    isinstance(value, dict)
                    and value.keys() <= declared.keys()
                    and all(map(HASH.holds, value.values()))
                ),
            ),
            "values": Rule(
                f"name, shape and type of {names}, each once at most, and the update", layout
            ),
            "seed": HASH,
            "cost": Rule("seconds, rounds, bytes and MiB, all >= 0", _is_cost),
        }

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> Combined:
        """From header and payload."""
        return cls(
            [bool(flag) for flag in header["accepted"]],
            reasons_read(header["refused"]),
            [Opening(name, tuple(shape), unit) for name, shape, unit in header["opened"]],
            header["digests"],
            _unpacked(header["values"], payload),
            bytes.fromhex(header["seed"]),
            Cost(**header["cost"]),
        )


def reasons_written(words: Mapping[int, str]) -> dict[str, str]:
    """Why shares were not taken, by hospital, as JSON has it."""
    return {str(hospital): text for hospital, text in words.items()}


def reasons_read(words: Mapping[str, str]) -> dict[int, str]:
    """Inverse of `reasons_written`."""
    return {int(hospital): text for hospital, text in words.items()}


def _fits(value: Any, declared: Mapping[str, Opening]) -> bool:
    """Whether [name, shape, ...] is a declared opening, with as many rows in play or fewer."""
    if not (isinstance(value, list) and len(value) == 3 and isinstance(value[0], str)):
        return False
    name, shape, _ = value
    if name not in declared or not isinstance(shape, list):
        return False
    most = declared[name].shape
    return len(shape) == len(most) and all(
        type(size) is int and 0 <= size <= limit for size, limit in zip(shape, most, strict=True)
    )


def _unit(value: Any) -> float | None:
    return value if value is None or type(value) in (int, float) else math.nan


def _is_cost(value: Any) -> bool:
    whole_ones = ("rounds", "bytes_online", "bytes_offline")
    return (
        isinstance(value, dict)
        and value.keys() == Cost.__dataclass_fields__.keys()
        and all(map(AMOUNT.holds, value.values()))
        and all(type(value[name]) is int for name in whole_ones)
    )


def _unpacked(layout: Sequence[Any], payload: bytes | bytearray) -> dict[str, np.ndarray]:
    values, offset = {}, 0
    for name, shape, dtype in layout:
        array = np.frombuffer(payload, dtype, math.prod(shape), offset).reshape(shape)
        values[name] = array.copy()
        offset += array.nbytes
    return values
