"""`secure-fl compare`: one rule's result from the three backends."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl compare`."""
    parser.add_argument(
        "--rule", default="median", help="rule, or module:function of yours (default: median)"
    )
    parser.add_argument("--hospitals", type=int, default=7, metavar="N")
    parser.add_argument("--dim", type=int, default=5, metavar="D")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--nodes", type=int, default=2, help="computing nodes (default: 2)")


def command(options: argparse.Namespace) -> int:
    """Print one rule's result on random updates from the three backends, side by side."""
    from rich.console import Console

    from eval.bench.compare import compare, comparison_table

    results = compare(
        options.rule, options.hospitals, options.dim, seed=options.seed, nodes=options.nodes
    )
    Console().print(comparison_table(options.rule, results))
    return 0
