"""A table as text, and how its numbers are written."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

DASH = "–"


class Sheet(NamedTuple):
    """A table as text: the first column names the line, all others are numbers or a dash.

    `heat`, where given, has a number from 0 (good) to 1 (bad) for each cell after the first
    column; HTML shades by it. `words` names further columns that are texts: they stand on the left
    and fold.
    """

    title: str
    header: list[str]
    body: list[list[str]]
    note: str = ""
    heat: Sequence[Sequence[float]] = ()
    words: tuple[str, ...] = ()


def percent(value: float | None) -> str:
    """Format a share with one decimal: 0.8281 -> "82.8%"."""
    return DASH if value is None else f"{100 * value:.1f}%".replace("-", "−")


def decimals(value: float | None) -> str:
    """Format a measure that is no share of anything to three decimals."""
    return DASH if value is None else f"{value:.3f}"


def points(value: float | None) -> str:
    """Format a difference in percentage points with its sign: -0.012 -> "−1.2"."""
    if value is None:
        return DASH
    text = f"{100 * value:+.1f}"
    return "0.0" if text in ("+0.0", "-0.0") else text.replace("-", "−")


def seconds(value: float) -> str:
    """Format seconds to two decimals."""
    return f"{value:.2f}" if value >= 0.005 else "<0.01"


def megabytes(value: float) -> str:
    """Format bytes as decimal megabytes, three significant digits below 100."""
    size = value / 1e6
    return f"{size:,.0f}" if size >= 100 else f"{size:.3g}"
