"""`secure-fl new`: an attack, a rule, a data set or a model to start from."""

from __future__ import annotations

import argparse
from pathlib import Path

from eval.cli.console import shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `secure-fl new`."""
    from eval.scaffold.write import KINDS

    parser.description = (
        "Write NAME.py and test_NAME.py into the current directory: a small example that runs as "
        "it stands, to be changed."
    )
    parser.add_argument("kind", choices=list(KINDS), metavar="KIND", help=", ".join(KINDS))
    parser.add_argument("name", metavar="NAME", help="of the new module, e.g. my_attack")


def command(options: argparse.Namespace) -> int:
    """Write the two files, and print what to do with them; returns the exit status.

    Raises:
        InputError: a name that cannot be used, or a file that is there already.
    """
    from eval.scaffold.write import write_scaffold

    made = write_scaffold(options.kind, options.name, Path())
    print(f"{shown(made.module)} works as it stands; {shown(made.test)} tests it")
    print(f"test:  python -m pytest {shown(made.test)}")
    print(f"run:   secure-fl run --quick {made.settings}")
    return 0
