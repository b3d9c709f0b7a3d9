"""`secure-fl prepare`: a data set of one's own files, read once and kept as one file."""

from __future__ import annotations

import argparse
import shlex
from pathlib import Path

from eval.cli.console import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl prepare`."""
    parser.add_argument("data", metavar="DATA", help="data set, e.g. mimic3")
    parser.add_argument("source", type=Path, metavar="FOLDER", help="its official files")
    parser.add_argument("target", type=Path, metavar="FILE.npz", help="new file to write")


def command(options: argparse.Namespace) -> int:
    """Read a data set from its official files and keep it as one file."""
    from secure_fl import data
    from secure_fl.data.prepared import keep, refuse_target
    from secure_fl.errors import InputError

    if data.shipped(options.data):
        raise InputError(
            f"{options.data} is in the package and needs no preparation: "
            f"secure-fl run data={options.data}"
        )
    refuse_target(options.target)  # before reading, which may take long
    dataset = data.load(options.data, options.source)
    keep(dataset, options.target)
    counts = ", ".join(
        f"{int((dataset.y == i).sum())} {name}" for i, name in enumerate(dataset.class_names)
    )
    print(f"{len(dataset.y)} rows ({counts}) in {shown(options.target)}")
    path = shlex.quote(f"data.path={options.target}")
    print(f"run: secure-fl run data={options.data} {path}")
    return 0
