"""`secure-fl bench simulation`: rounds a second of a whole simulation (`simulation_ways`)."""

from __future__ import annotations

import argparse
import json

from secure_fl.errors import require


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl bench simulation`."""
    parser.add_argument("--hospitals", type=int, default=20, metavar="N")
    parser.add_argument("--epochs", type=int, default=5, metavar="E")
    parser.add_argument("--rounds", type=int, default=6, metavar="R", help="the first is not timed")
    parser.add_argument("--threads", type=int, default=1, metavar="T", help="of torch")
    parser.add_argument("--json", action="store_true", help="print one JSON list of rows")
    parser.epilog = (
        "Flower's simulation runs where flwr is installed, or where FLOWER_PYTHON names an "
        "interpreter that has it (flwr[simulation] and torch)."
    )


def command(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status.

    Raises:
        InputError: a number that cannot be, or an interpreter that cannot run Flower.
    """
    for name, least in (("hospitals", 2), ("epochs", 1), ("rounds", 2), ("threads", 1)):
        value = getattr(options, name)
        require(least <= value <= 500, f"--{name}", f"from {least} to 500", value)
    from eval.bench.simulation_ways import measure  # torch is loaded for this alone

    rows = measure(options.hospitals, options.epochs, options.rounds, options.threads)
    if options.json:
        print(json.dumps(rows))
        return 0
    print(f"{'way':<10}  {'s a round':>9}  {'rounds a s':>10}  {'times slower':>12}  {'gap':>7}")
    for row in rows:
        figures = f"{row['seconds']:>9.3f}  {1 / row['seconds']:>10.2f}  {row['times']:>12.1f}"
        print(f"{row['way']:<10}  {figures}  {row['gap']:>7.1e}")
    print("times slower: than the simulation; gap: of the models after the first round, at most")
    return 0
