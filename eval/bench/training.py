"""`secure-fl bench training`: what a round of local training costs (`eval.bench.training_ways`)."""

from __future__ import annotations

import argparse
import json

from secure_fl.errors import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl bench training`."""
    parser.add_argument("--hospitals", type=int, default=20, metavar="N")
    parser.add_argument("--epochs", type=int, default=5, metavar="E")
    parser.add_argument("--repetitions", type=int, default=3, metavar="R")
    parser.add_argument("--threads", type=int, default=1, metavar="T")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")


def command(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status.

    Raises:
        InputError: a number that cannot be.
    """
    for name in ("hospitals", "epochs", "repetitions", "threads"):
        value = getattr(options, name)
        require(1 <= value <= 1000, f"--{name}", "from 1 to 1000", value)
    from eval.bench.training_ways import measure  # torch is loaded for this alone
    from secure_fl.threads import torch_threads

    with torch_threads(options.threads):
        rows = measure(options.hospitals, options.epochs, options.repetitions)
    if options.json:
        print(json.dumps(rows))
        return 0
    print(f"{'way':<9}  {'hospitals':>9}  {'s a round':>9}  {'times the loop':>14}")
    for row in rows:
        figures = f"{row['seconds']:>9.3f}  {row['times_loop']:>14.1f}"
        print(f"{row['way']:<9}  {row['hospitals']:>9}  {figures}")
    return 0
