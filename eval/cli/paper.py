"""`secure-fl paper`: the paper's tables and figures over seeds, beside its own numbers."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from eval.cli.console import shown
from eval.cli.workers import refuse_late_settings

# Characters to a line where nobody says how wide the console is.
WIDTH = 110
HELP = """\
examples:
  secure-fl paper --quick --out runs/paper-quick
  secure-fl paper --only table2 --seeds 5 --out runs/paper
  secure-fl paper --only defence --tasks support2-200 digits-50 --seeds 5 --out runs/defence
  secure-fl paper rounds=50 --only table2 fig4 --data support2 digits --out runs/paper-50

Tables are printed in short. The folder then holds paper.html, paper.md, paper.tex, figures, and
the numbers behind them as JSON and CSV. The same command, or one with more parts, data sets or
seeds, goes on where it was interrupted, cell by cell. Methods under MPC run in the clear with the
integers of MPC, which give the same result to the last bit; --mpc runs them as they are deployed.
Table 3 always does.
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl paper`."""
    parser.description = "Run the evaluation of the paper, cell by cell, and report it."
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = HELP
    parser.add_argument(
        "settings", nargs="*", metavar="SETTING", help="as of `secure-fl run`: rounds=50, ..."
    )
    parser.add_argument(
        "--only", nargs="+", metavar="PART", help="table1, table2, fig3, ...; default: all"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds and one seed, as a try")
    parser.add_argument("--seeds", type=int, metavar="N", help="how many; default: 5")
    parser.add_argument("--first-seed", type=int, default=0, metavar="S", help="default: 0")
    parser.add_argument("--data", nargs="+", default=["support2"], metavar="NAME")
    parser.add_argument(
        "--tasks",
        nargs="+",
        metavar="NAME",
        help="of part defence; default: those on the data sets",
    )
    parser.add_argument("--mpc", action="store_true", help="run methods as they are deployed")
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes side by side")
    parser.add_argument(
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="new folder, or that of the same command to go on with",
    )


def command(options: argparse.Namespace) -> int:
    """Run what is missing, write page and tables; returns the exit status.

    Raises:
        InputError: a number that cannot be, a folder of something else.
        ConfigError: settings that do not fit.
    """
    from rich.console import Console

    from eval.jobs.progress import CellLines
    from eval.jobs.starting import command_line
    from eval.paper.cells import plan_parts, run_parts
    from eval.paper.data_files import Made, measured_parts
    from eval.paper.goals import chosen_tasks
    from eval.paper.page import check_folder, write_paper
    from eval.paper.parts import PARTS, QUICK, chosen
    from eval.tables import console_sheets
    from secure_fl.errors import require
    from secure_fl.settings.overrides import is_file

    count = options.seeds if options.seeds is not None else 1 if options.quick else 5
    require(1 <= count <= 1000, "--seeds", "from 1 to 1000", count)
    first = options.first_seed
    require(0 <= first <= 2**32, "--first-seed", "from 0 to 2**32", first)
    set_here = [each for each in options.settings if each.partition("=")[0] in ("seed", "data")]
    require(
        not set_here, "settings", "without seed= and data=, for which there are options", set_here
    )
    files = [each for each in options.settings if is_file(each)]
    require(not files, "settings", "single ones: parts have files of their own", files)
    refuse_late_settings(options.only, options.data, options.tasks)
    parts = chosen(options.only)
    seeds = range(first, first + count)
    settings = [*(QUICK if options.quick else ()), *options.settings]
    tasks = chosen_tasks(options.tasks, options.data)
    fit = [name for name in parts if tasks or not PARTS[name].tasks]
    require(options.only is None or fit == parts, "--data", "of a task (--tasks)", options.data)
    told = options.tasks is None or any(PARTS[name].tasks for name in fit)
    require(told, "--tasks", "left out without part defence", options.tasks)
    parts = fit
    wanted = plan_parts(parts, options.data, seeds, settings, options.mpc, tasks, options.quick)
    check_folder(options.out)
    options.out.mkdir(parents=True, exist_ok=True)
    rows = run_parts(wanted, options.out, options.jobs, CellLines(("task",)))
    typed = shlex.join(command_line())
    made = Made(options.data, seeds, settings, options.mpc, typed, tasks)
    page, tables = write_paper(options.out, parts, rows, made)
    console = Console()
    if not console.is_terminal:
        console = Console(width=WIDTH)
    console.print(console_sheets(tables), crop=False)
    print(f"page: {shown(page)}")
    left = [name for name in measured_parts(options.out) if name not in parts]
    if left:
        print(f"the folder has {', '.join(left)} too: name all with --only for one page of them")
    return 0
