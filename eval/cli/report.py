"""`secure-fl report`: a run's figures and pages, drawn again."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.cli.console import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl report`."""
    parser.add_argument("run", type=Path, metavar="RUN")


def command(options: argparse.Namespace) -> int:
    """Draw the figures and the report of a finished run again."""
    from eval.report.report import write_report

    print(shown(write_report(options.run)))
    return 0
