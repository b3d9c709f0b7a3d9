"""Oracles of rules, a family a file: loops, as in the papers.

Each takes updates (n, d), reputations (n,), a root direction (d,) and parameters; see
`tests.support.oracles`.
"""

from __future__ import annotations

from collections.abc import Callable

from tests.support.literal_rules import (
    clipping,
    coordinatewise,
    directions,
    distances,
    groups,
    history,
    signs,
    trust,
)
from tests.support.literal_rules.outcome import Outcome

LITERAL: dict[str, Callable[..., Outcome]] = {
    name: function
    for family in (clipping, coordinatewise, directions, distances, groups, history, signs, trust)
    for name, function in vars(family).items()
    if callable(function) and getattr(function, "__module__", "") == family.__name__
    if not name.startswith("_")
}
