"""Options of commands whose runs stand side by side: how many, and on which machines."""

from __future__ import annotations

import argparse
from collections.abc import Iterable
from dataclasses import asdict
from itertools import chain
from typing import Any


def add_workers(parser: argparse.ArgumentParser) -> None:
    """Add them to a command's."""
    parser.add_argument("--jobs", type=int, default=2, metavar="N", help="processes side by side")
    parser.add_argument(
        "--parallel",
        default="loky",
        metavar="WHERE",
        help="by joblib: loky, processes of this machine (default); dask or ray, workers of a "
        "cluster, which all see DIR under its name",
    )
    parser.add_argument(
        "--cluster", metavar="ADDRESS", help="of the Dask scheduler, as tcp://HOST:8786, or of Ray"
    )


def workers(options: argparse.Namespace) -> dict[str, Any]:
    """What `eval.jobs.cells.run_groups` takes of them.

    Raises:
        InputError: a number or a place that cannot be, or a package that is not there.
    """
    from eval.jobs.parallel import Workers

    return asdict(Workers(options.jobs, options.parallel, options.cluster))


def refuse_late_settings(*listed: Iterable[str] | None) -> None:
    """Refuse a setting that was taken for one of the names of an option before it.

    Args:
        listed: words of options that take several; None where one was not given.

    Raises:
        InputError: one of them is a setting.
    """
    from secure_fl.errors import require

    late = [word for word in chain(*(words or () for words in listed)) if "=" in word]
    require(not late, "settings", "before all options", late)
