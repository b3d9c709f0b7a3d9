"""How a measured time grows with a size that was varied, in rows of a benchmark."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

# Sizes that `secure-fl bench mpc` varies.
SIZES = ("dim", "hospitals")


def varied_sizes(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Which of "dim" and "hospitals" take several values."""
    return [key for key in SIZES if len({row[key] for row in rows}) > 1]


def along(rows: Sequence[Mapping[str, Any]], varied: str) -> list[Mapping[str, Any]]:
    """Rows in which the other size is as in the first row, which is the base of all sweeps."""
    other = next(key for key in SIZES if key != varied)
    return [row for row in rows if row[other] == rows[0][other]]


def exponent(rows: Sequence[Mapping[str, Any]], varied: str) -> float:
    """The slope of log(online seconds) over log(varied) by least squares: 1 is linear."""
    points = [(math.log(row[varied]), math.log(row["seconds_online"])) for row in rows]
    x = sum(p[0] for p in points) / len(points)
    y = sum(p[1] for p in points) / len(points)
    return sum((p - x) * (q - y) for p, q in points) / sum((p - x) ** 2 for p, _ in points)
