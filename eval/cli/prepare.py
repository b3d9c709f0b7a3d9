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
    parser.add_argument("--task", metavar="NAME", help="as data.task")
    parser.add_argument("--split", metavar="NAME", help="as data.split")


def command(options: argparse.Namespace) -> int:
    """Read a data set from its official files and keep it as one file."""
    import numpy as np

    from secure_fl import data
    from secure_fl.data.prepared import keep, refuse_target
    from secure_fl.errors import InputError

    if data.shipped(options.data):
        raise InputError(
            f"{options.data} is in the package and needs no preparation: "
            f"secure-fl run data={options.data}"
        )
    refuse_target(options.target)  # before reading, which may take long
    asked = {"task": options.task, "split": options.split}
    given = {key: value for key, value in asked.items() if value is not None}
    dataset = data.load(options.data, options.source, **given)
    keep(dataset, options.target)
    held = (
        dataset.y.T
        if dataset.multilabel
        else np.equal.outer(range(len(dataset.class_names)), dataset.y)
    )
    counts = ", ".join(
        f"{int(each.sum())} {name}" for each, name in zip(held, dataset.class_names, strict=True)
    )
    print(f"{len(dataset.y)} rows ({counts}) in {shown(options.target)}")
    settings = [f"data.path={options.target}", *(f"data.{k}={v}" for k, v in given.items())]
    settings += ["data.balance=false"] if dataset.multilabel else []
    print(f"run: secure-fl run data={options.data} {shlex.join(settings)}")
    return 0
