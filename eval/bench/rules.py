"""`secure-fl bench rules`: what a rule costs in the clear, beside ByzFL and plain torch.

Counted from the user's float32 tensor to the result of `aggregate(backend="plain")`. Ours and the
others' take turns, so that what else the machine does falls on all. Times hold for the machine that
they were taken on: compare the columns of one row.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Sequence
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any

from secure_fl.errors import InputError, require

if TYPE_CHECKING:
    pass

Row = dict[str, Any]
CAPTION = (
    "Milliseconds, median of the repetitions. Ratio: the faster of the others to ours; above 1 "
    "ours is faster. -: no such rule there, or ByzFL is not installed (pip install --no-deps "
    "byzfl==0.0.11)."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl bench rules`."""
    parser.add_argument("--rule", nargs="+", help="rules (default: all that ship)")
    parser.add_argument("--hospitals", type=int, default=20, metavar="N")
    parser.add_argument("--malicious", type=int, default=4, metavar="F", help="rows to bear")
    parser.add_argument("--dim", type=int, nargs="+", default=[100_000, 1_000_000], metavar="D")
    parser.add_argument("--repeat", type=int, default=5, metavar="R")
    parser.add_argument("--threads", type=int, default=2, metavar="T")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")


def command(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status.

    Raises:
        InputError: a number that cannot be, or an unknown rule.
    """
    for name, most in {"hospitals": 500, "repeat": 1000, "threads": 1000}.items():
        value = getattr(options, name)
        require(1 <= value <= most, f"--{name}", f"from 1 to {most}", value)
    few = 0 <= 2 * options.malicious < options.hospitals
    require(few, "--malicious", "fewer than half of the hospitals", options.malicious)
    require(all(1 <= d <= 10**8 for d in options.dim), "--dim", "from 1 to 10^8", options.dim)
    from secure_fl.aggregation import rule_names  # torch is loaded for this alone
    from secure_fl.threads import torch_threads

    names = options.rule or rule_names()
    with torch_threads(options.threads):
        rows = [
            measure(name, options.hospitals, options.malicious, dim, options.repeat)
            for dim in options.dim
            for name in names
            if bears(name, options.hospitals, options.malicious)
        ]
    print(json.dumps(rows) if options.json else table(rows))
    return 0


def bears(rule: str, hospitals: int, malicious: int) -> bool:
    """Whether a rule can be with so many hospitals; says so where it cannot.

    Raises:
        ConfigError: no such rule.
    """
    from secure_fl.aggregation import build_rule

    made = build_rule(rule, **parameters(rule, hospitals, malicious))
    try:
        made.check_hospitals(hospitals)
    except InputError as error:
        print(f"{rule} is left out: {error}", file=sys.stderr)
        return False
    return True


def measure(rule: str, hospitals: int, malicious: int, dim: int, repeat: int) -> Row:
    """Time one rule on random updates float32 (hospitals, dim), ours and the others'."""
    import torch

    import secure_fl
    from eval.bench.rule_peers import byzfl_rules, torch_rules
    from secure_fl.aggregation import build_rule

    x = torch.randn((hospitals, dim), generator=torch.Generator().manual_seed(0)) * 0.01
    params = parameters(rule, hospitals, malicious)
    made = build_rule(rule, **params)
    told: dict[str, Any] = {"reference": torch.ones(dim)}
    if made.uses_model:
        told["model"] = torch.ones(dim)
    ways: dict[str, Callable[[], object]] = {
        "ours": lambda: secure_fl.aggregate(x, made, "plain", **told).update
    }
    for name, others in (("byzfl", byzfl_rules(malicious)), ("torch", torch_rules(malicious))):
        if rule in others:
            ways[name] = lambda way=others[rule]: way(x)  # type: ignore[misc]
    seconds = take_turns(ways, repeat)
    return {"rule": rule, "hospitals": hospitals, "dim": dim, "parameters": params} | {
        f"{name}_ms": 1000 * seconds[name] if name in seconds else None
        for name in ("ours", "byzfl", "torch")
    }


def parameters(rule: str, hospitals: int, malicious: int) -> dict[str, Any]:
    """What a rule must be told to bear so many malicious rows, of what it can be told."""
    from secure_fl.aggregation.rules.registry import rule_parameters

    known = rule_parameters(rule)
    told = {"num_malicious": malicious, "beta": malicious / hospitals}
    return {name: value for name, value in told.items() if name in known}


def take_turns(ways: dict[str, Callable[[], object]], repeat: int) -> dict[str, float]:
    """Median seconds of each way, called in turns after a first call each."""
    taken: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    for _ in range(repeat):
        for name, way in ways.items():
            start = perf_counter()
            way()
            taken[name].append(perf_counter() - start)
    return {name: median(times) for name, times in taken.items()}


def table(rows: Sequence[Row]) -> str:
    """The rows as text, with what the columns mean."""
    lines = [f"{'rule':<22}{'n':>5}{'d':>10}{'ours':>10}{'ByzFL':>10}{'torch':>10}{'ratio':>8}"]
    for row in rows:
        others = [row[key] for key in ("byzfl_ms", "torch_ms") if row[key] is not None]
        ratio = f"{min(others) / row['ours_ms']:.2f}" if others else "-"
        times = "".join(
            "-".rjust(10) if row[key] is None else f"{row[key]:>10.2f}"
            for key in ("ours_ms", "byzfl_ms", "torch_ms")
        )
        lines.append(f"{row['rule']:<22}{row['hospitals']:>5}{row['dim']:>10}{times}{ratio:>8}")
    return "\n".join([*lines, CAPTION])
