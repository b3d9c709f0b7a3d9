"""Few rules that together take every path of the arithmetic that any rule takes.

What must hold for every protocol, but costs much for every rule, is shown on these.
"""

from __future__ import annotations

import sys
from functools import cache
from pathlib import Path
from types import FrameType

import secure_fl
from secure_fl.aggregation import Pipeline, build_rule, rule_names, worlds
from tests.support.oracles import case

_ARITHMETIC = str(Path(worlds.__file__).parent)


# Rules that repeat the same steps, with as few repetitions as take every path.
_REPETITIONS: dict[str, dict[str, int]] = {
    "caf": {"num_malicious": 1},
    "geometric_median": {"steps": 2},
}


def few_repetitions(rule: str) -> Pipeline:
    """The rule, which repeats its steps no more often than it takes to see them all."""
    return build_rule(rule, **_REPETITIONS.get(rule, {}))


@cache
def operations_of(name: str, few: bool = False) -> frozenset[str]:
    """Functions of the integers' arithmetic, which shares have in common, that a rule calls.

    Args:
        name: of the rule.
        few: with few repetitions.
    """
    rule = few_repetitions(name) if few else build_rule(name)
    called: set[str] = set()

    def watch(frame: FrameType, event: str, _: object) -> None:
        if event == "call" and frame.f_code.co_filename.startswith(_ARITHMETIC):
            called.add(f"{Path(frame.f_code.co_filename).name}:{frame.f_code.co_qualname}")

    x, reputation, root = case("plain", 7, 5)
    public = {"reputation": reputation, "reference": root, "model": root}
    secure_fl.aggregate(x, rule, "fixed", **public)  # what is made once and kept is made
    sys.setprofile(watch)
    try:
        secure_fl.aggregate(x, rule, "fixed", **public)
    finally:
        sys.setprofile(None)
    return frozenset(called)


@cache
def covering_rules() -> tuple[str, ...]:
    """Rules, one after another whichever adds most, until nothing is added."""
    chosen: list[str] = []
    covered: set[str] = set()
    while True:
        best = max(rule_names(), key=lambda rule: (len(operations_of(rule) - covered), rule))
        if operations_of(best) <= covered:
            return tuple(sorted(chosen))
        chosen.append(best)
        covered |= operations_of(best)
