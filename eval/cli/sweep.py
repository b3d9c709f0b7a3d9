"""`secure-fl sweep`: attacks, defences, shares, seeds and any other setting, side by side."""

from __future__ import annotations

import argparse
import math
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from eval.cli.console import shown
from eval.cli.workers import add_workers, refuse_late_settings, workers

if TYPE_CHECKING:
    from eval.jobs.sweep import Sweep

HELP = """\
settings:
  as of `secure-fl run`; any of them with several values, parted by commas, of which all
  combinations are run (a comma within a value stands in quotes)

examples:
  secure-fl sweep data=digits --attacks sign_flip --defences fedavg median --seeds 3 --out runs/a
  secure-fl sweep data.alpha=0.1,0.3,1.0 rounds=20 --attacks label_flip --out runs/alpha
  secure-fl sweep attack.params.strength=1,2,5 --attacks sign_flip --malicious 0.1 0.3 --out runs/s
  secure-fl sweep rounds=20,200 --seeds 5 --parallel dask --cluster tcp://HOST:8786 --out runs/d

The table is DIR/runs.csv, one row a run; runs.parquet too where pyarrow is installed. The same
command, or one with more values, goes on where it was interrupted, and tries again what failed;
one that leaves out runs that DIR holds is refused.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl sweep`."""
    parser.description = (
        "Run every combination of settings, defences, attacks, shares and seeds, in several "
        "processes. It is secure_fl.sweep of Python."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help="KEY=VALUE or KEY=VALUE,VALUE,..."
    )
    for name, what in (("attacks", "attacks"), ("defences", "defences or rules")):
        told = f"{what} by name; default: those of the settings"
        parser.add_argument(f"--{name}", nargs="+", metavar="NAME", help=told)
    parser.add_argument(
        "--malicious",
        nargs="+",
        type=float,
        metavar="SHARE",
        help="shares of malicious hospitals; default: those of the settings",
    )
    parser.add_argument(
        "--seeds",
        type=int,
        metavar="N",
        help="seeds 0 to N-1 on data divided alike; default: that of the settings, of which "
        "seed=0,1 divides the data anew too",
    )
    add_workers(parser)
    parser.add_argument(
        "--lenient", action="store_true", help="go on after a run that fails; its row says why"
    )
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder, or that of a sweep to go on with",
    )


def command(options: argparse.Namespace) -> int:
    """Run, write the table, print means over the seeds; returns the exit status.

    Raises:
        InputError: nothing to run, a number that cannot be, a folder of something else.
        ConfigError: settings that do not fit.
    """
    from eval.jobs.cells import run_groups
    from eval.jobs.claims import check_place
    from eval.jobs.progress import CellLines
    from eval.jobs.sweep import of_rows, plan_sweep
    from secure_fl.errors import require

    refuse_late_settings(options.attacks, options.defences)
    given, seeds = workers(options), options.seeds
    require(seeds is None or 1 <= seeds <= 1000, "--seeds", "from 1 to 1000", seeds)
    plan, swept = plan_sweep(
        options.settings,
        options.attacks,
        options.defences,
        options.malicious,
        None if seeds is None else range(seeds),
        allow=options.allow,
    )
    check_place(options.out)
    print(f"{plan.cells} runs, results in {shown(options.out)}", flush=True)
    told = CellLines(swept)
    rows = run_groups(
        plan, folder=options.out, lenient=options.lenient, tell=told, of="sweep", **given
    )
    found = of_rows(rows, swept)
    print(means(found))
    for path in found.save(options.out):
        print(f"table: {shown(path)}")
    failed = sum("refused" in row for row in rows)
    if failed:
        print(
            f"secure-fl: {failed} of {plan.cells} runs failed: the table says why", file=sys.stderr
        )
    return 1 if failed else 0


# Columns of the printed table, each with its measure.
SHOWN = {
    "accuracy": "accuracy",
    "gain retained": "gain_retained",
    "attack success over base": "attack_success_excess",
    "naming precision": "detection_precision",
    "naming recall": "detection_recall",
}


def means(found: Sweep) -> str:
    """A line a combination: means over the seeds with their 95 % intervals, in percent.

    "-" where there is no figure, as the precision of a rule that names nobody. Where another share
    of the hospitals is malicious than was asked for, it tells how many are.
    """
    from eval.results.style import malicious_words

    figures = ["mean", "low", "high", "lowest", "highest"]
    table = found.intervals("accuracy").drop(columns=figures)
    names = [*table.columns[: table.columns.get_loc("seeds")]]
    counts = {tuple(row[name] for name in names): row.get("hospitals") for row in found.rows}
    lines = list(table[names].itertuples(index=False))
    words = [malicious_words(line.malicious, counts[tuple(line)]) for line in lines]
    table["malicious"] = [
        told if " of " in told else f"{line.malicious:g}"
        for line, told in zip(lines, words, strict=True)
    ]
    for name, measure in SHOWN.items():
        if not any(measure in row for row in found.rows):
            continue  # the gain, of a sweep without root only or FedAvg
        numbers = found.intervals(measure)[["mean", "low", "high"]].itertuples(index=False)
        table[name] = [_interval(*each) for each in numbers]
        if measure == "attack_success_excess":
            worst = found.intervals(measure)["highest"]
            table["worst seed"] = [_interval(each, math.nan, math.nan) for each in worst]
    return str(table.to_string(index=False))


def _interval(mean: float, low: float, high: float) -> str:
    """A mean as percent, with its interval where there is one."""
    if math.isnan(mean):
        return "-"
    told = "" if math.isnan(low) else f" [{100 * low:.1f}, {100 * high:.1f}]"
    return f"{100 * mean:.1f}{told}"
