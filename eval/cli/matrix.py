"""`secure-fl matrix`: every attack against every rule."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any

from eval.cli.console import shown
from eval.cli.workers import add_workers, refuse_late_settings, workers

if TYPE_CHECKING:
    from eval.results.matrix import Matrix


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl matrix`."""
    parser.description = (
        "Run every attack against every rule in the clear, with several seeds. A "
        "matrix that was interrupted goes on where the same command is given again."
    )
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help="as of `secure-fl run`: data=, rounds=, ..."
    )
    parser.add_argument("--attacks", nargs="+", metavar="NAME", help="default: all that ship")
    parser.add_argument(
        "--rules", nargs="+", metavar="NAME", help="rules alone, in the clear; default: all"
    )
    parser.add_argument(
        "--defences",
        nargs="+",
        default=[],
        metavar="NAME",
        help="whole defences besides",
    )
    parser.add_argument(
        "--malicious",
        type=float,
        default=0.3,
        metavar="SHARE",
        help="share of malicious hospitals",
    )
    parser.add_argument("--seeds", type=int, default=3, metavar="N", help="seeds 0 to N-1")
    add_workers(parser)
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder, or that of a matrix to go on with",
    )


def command(options: argparse.Namespace) -> int:
    """Run, print the worst cases, write the page; returns the exit status.

    Raises:
        InputError: nothing to run, a number that cannot be, a folder of something else.
        ConfigError: settings that do not fit.
    """
    import attacks
    from eval.jobs import matrix
    from eval.jobs.cells import run_groups
    from eval.jobs.claims import check_place
    from eval.jobs.progress import CellLines
    from eval.report.matrix_page import write_matrix
    from eval.results.matrix import averaged
    from eval.results.style import NO_ATTACK
    from secure_fl.aggregation import build_rule, rule_names
    from secure_fl.errors import require
    from secure_fl.files import write_json
    from secure_fl.settings.config import load_config
    from secure_fl.simulation.prepare import prepare

    require(1 <= options.seeds <= 1000, "--seeds", "from 1 to 1000", options.seeds)
    refuse_late_settings(options.attacks, options.rules, options.defences)
    given = workers(options)
    config = load_config(options.settings, options.allow)
    names = options.attacks or [name for name in attacks.names() if name != NO_ATTACK]
    rules = rule_names() if options.rules is None else options.rules
    for name in rules:
        build_rule(name)
    twice = [name for name in options.defences if name in rules]
    require(not twice, "--defences", "methods beside the rules, which --rules names", twice)
    listed: list[Any] = [*(matrix.bare_rule(name) for name in rules), *options.defences]
    federation = prepare(config)
    seeds = range(options.seeds)
    plan = matrix.plan_matrix(federation, names, listed, options.malicious, seeds, config)
    check_place(options.out)
    print(f"{plan.cells} cells, {len(plan.refused)} that cannot be, in {shown(options.out)}")
    told = CellLines()
    rows = run_groups(plan, folder=options.out, lenient=True, tell=told, of="matrix", **given)
    write_json(options.out / "matrix.json", rows)
    made = averaged(rows)
    page = write_matrix(made, options.out)
    print(worst_cases(made))
    print(f"page: {shown(page)}")
    return 0


def worst_cases(matrix: Matrix) -> str:
    """A line a rule: accuracy without attack and at worst, and the attack that succeeds most."""
    from eval.results.matrix import WORDS, WORST_HEADER, worst_lines

    body = [WORST_HEADER, *worst_lines(matrix)]
    widths = [max(len(line[i]) for line in body) for i in range(len(WORST_HEADER))]
    lines = [
        "  ".join(
            f"{text:<{width}}" if name in WORDS else f"{text:>{width}}"
            for name, text, width in zip(WORST_HEADER, line, widths, strict=True)
        )
        for line in body
    ]
    note = (
        "Percent. Success: over the clean base rate. Recall: mean over all attacks; precision: "
        "over those under which somebody was named."
    )
    return "\n".join([*lines, note])
