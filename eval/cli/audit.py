"""`secure-fl audit`: a run's folder, checked."""

from __future__ import annotations

import argparse
import os
import re
import sys
from pathlib import Path

from ledger.files import printable


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl audit`."""
    parser.description = (
        "Execute a run's chains again and compare every file with them, with the "
        "settings, and with what models and data give."
    )
    parser.epilog = (
        "exit status: 0 PASSED, 1 FAILED, 2 no run, 3 INCOMPLETE (all that was compared "
        "holds; what was not is named, with the reason)"
    )
    parser.add_argument("run", type=Path, metavar="RUN")
    parser.add_argument(
        "--head",
        type=_head,
        metavar="0x...",
        help="head that the run printed: excludes a folder that was made anew as a whole",
    )
    parser.add_argument(
        "--no-measure", action="store_true", help="do not measure the models on the data again"
    )
    parser.add_argument(
        "--data",
        type=Path,
        metavar="PATH",
        help="your data, for a run with data.path: an audit follows no path that a folder names",
    )
    parser.add_argument("--verbose", action="store_true", help="tell what each chain recorded")


def _head(text: str) -> str:
    """A block's hash as typed."""
    if re.fullmatch(r"(0x)?[0-9a-fA-F]{64}", text) is None:
        raise argparse.ArgumentTypeError(f"must be 64 hexadecimal digits; got {text!r}")
    return text


def command(options: argparse.Namespace) -> int:
    """Check a run folder; its `Outcome` is the exit status."""
    from eval.audit.run import audit_run, describe

    report = audit_run(
        options.run,
        head=options.head,
        measures=not options.no_measure,
        data=options.data,
        processes=os.cpu_count() or 1,
        allow=options.allow,
        tell=lambda line: print(printable(line), file=sys.stderr, flush=True),
    )
    print(describe(report, verbose=options.verbose))
    return int(report.outcome.value)
