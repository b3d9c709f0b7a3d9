"""`secure-fl compare`: runs side by side with paired tests; or one rule on the three backends."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from eval.cli.console import shown

HELP = """\
With folders, their runs are compared: those of runs, sweeps and matrices, in any number. A method
is a defence with the settings of training, model or defence that differ; methods are compared
within data, attack and share of malicious hospitals, over the seeds that they have in common.
Without folders, one rule's result on random updates from the three backends, side by side.

examples:
  secure-fl compare runs/sweep
  secure-fl compare runs/a runs/b runs/c --against median --out runs/abc
  secure-fl compare --rule my_rule:shorter_median
"""
# Options of either form, with their defaults; None as typed tells that nobody typed it.
_OF_RULE: dict[str, Any] = {"rule": "median", "hospitals": 7, "dim": 5, "seed": 0, "nodes": 2}
_OF_RUNS: dict[str, Any] = {
    "measures": None,
    "against": None,
    "confidence": 0.95,
    "test": "t",
    "out": None,
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl compare`."""
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = "Compare runs over equal seeds, or one rule's backends."
    parser.epilog = HELP
    parser.add_argument(
        "runs", nargs="*", type=Path, metavar="RUN", help="folder of a run, a sweep or a matrix"
    )
    runs = parser.add_argument_group("with folders")
    runs.add_argument(
        "--measures", nargs="+", metavar="NAME", help="columns of the runs' rows (default: quality)"
    )
    runs.add_argument(
        "--against", metavar="METHOD", help="what others are compared with (default: the first)"
    )
    runs.add_argument(
        "--confidence", type=float, metavar="P", help="of the intervals (default: 0.95)"
    )
    runs.add_argument(
        "--test", metavar="NAME", help="t, of paired differences (default), or wilcoxon"
    )
    runs.add_argument(
        "--out", type=Path, metavar="DIR", help="write page, Markdown, figure and JSON there"
    )
    rule = parser.add_argument_group("without folders")
    rule.add_argument("--rule", help="rule, or module:function of yours (default: median)")
    rule.add_argument("--hospitals", type=int, metavar="N", help="default: 7")
    rule.add_argument("--dim", type=int, metavar="D", help="default: 5")
    rule.add_argument("--seed", type=int, help="default: 0")
    rule.add_argument("--nodes", type=int, help="computing nodes (default: 2)")


def command(options: argparse.Namespace) -> int:
    """Compare and print; returns the exit status.

    Raises:
        InputError: options of the other form, folders that hold no runs, a name that there is not.
    """
    if options.runs:
        return _runs(options.runs, **_typed(options, _OF_RUNS, _OF_RULE, "with folders"))
    return _backends(**_typed(options, _OF_RULE, _OF_RUNS, "without folders"))


def _typed(
    options: argparse.Namespace, own: dict[str, Any], others: dict[str, Any], form: str
) -> dict[str, Any]:
    """The options of a form, with defaults in the place of what nobody typed."""
    from secure_fl.errors import InputError

    strange = [f"--{name}" for name in others if getattr(options, name) is not None]
    if strange:
        raise InputError(f"{', '.join(strange)}: no option of `secure-fl compare` {form}")
    given = {name: getattr(options, name) for name in own}
    return {name: own[name] if value is None else value for name, value in given.items()}


def _runs(
    runs: list[Path],
    measures: list[str] | None,
    against: str | None,
    confidence: float,
    test: str,
    out: Path | None,
) -> int:
    from rich.console import Console

    from eval.report.comparison_page import WORDS, write_comparison
    from eval.results.comparison import compare
    from eval.results.entries import read_entries
    from eval.tables import comparison_notes, comparison_sheets, console_sheets
    from secure_fl.errors import require

    places = [run.resolve() for run in runs]
    require(len(set(places)) == len(places), "RUN", "distinct folders", [str(run) for run in runs])
    entries = [entry for run in runs for entry in read_entries(run)]
    found = compare(entries, measures, against, confidence, test)
    console = Console()
    if not console.is_terminal:
        console = Console(width=200)  # wide enough for names of methods
    console.print(console_sheets(comparison_sheets(found), WORDS), crop=False)
    for note in comparison_notes(found):
        console.print(note, markup=False, highlight=False)
    if out is not None:
        for path in write_comparison(found, [str(run) for run in runs], out):
            print(f"written: {shown(path)}")
    return 0


def _backends(rule: str, hospitals: int, dim: int, seed: int, nodes: int) -> int:
    from rich.console import Console

    from eval.bench.compare import compare, comparison_table

    results = compare(rule, hospitals, dim, seed=seed, nodes=nodes)
    Console().print(comparison_table(rule, results))
    return 0
