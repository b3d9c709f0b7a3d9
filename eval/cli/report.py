"""`secure-fl report`: a run's figures and pages, drawn again."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.cli.console import quoted, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl report`."""
    parser.add_argument("run", type=Path, metavar="RUN")


def command(options: argparse.Namespace) -> int:
    """Draw the figures and the report of a finished run again."""
    from eval.jobs.starting import holds_run
    from eval.report.report import write_report
    from secure_fl.errors import InputError

    if holds_run(options.run) and not (options.run / "summary.json").exists():
        again = f"secure-fl run --resume {quoted(options.run)}"
        raise InputError(f"{options.run} must be a finished run: {again} completes it")
    print(shown(write_report(options.run)))
    return 0
