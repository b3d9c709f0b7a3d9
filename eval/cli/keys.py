"""`secure-fl keys`: keys and certificates for nodes and dealer."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.cli.console import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl keys`."""
    parser.description = (
        "Make an authority and a certificate each for nodes, dealer and coordinator; "
        "use them with defence.keys=FOLDER. Without, a run makes fresh ones for itself."
    )
    parser.add_argument("folder", type=Path, metavar="FOLDER", help="new folder")
    parser.add_argument("--nodes", type=int, default=2, help="computing nodes (default: 2)")
    parser.add_argument("--days", type=int, default=365, help="validity (default: 365)")


def command(options: argparse.Namespace) -> int:
    """Make keys and certificates; print the files."""
    from secure_fl.mpc.tls import make_keys

    for path in make_keys(options.folder, options.nodes, options.days):
        print(shown(path))
    return 0
