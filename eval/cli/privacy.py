"""`secure-fl privacy`: attacks on what is opened."""

from __future__ import annotations

import argparse


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl privacy`."""
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as of `secure-fl run`")
    parser.add_argument(
        "--rows", type=int, default=1, metavar="M", help="in the step that is inverted (default: 1)"
    )
    parser.add_argument("--hospital", type=int, default=0, metavar="I", help="whose rows")
    parser.add_argument(
        "--noise", type=float, default=0.05, metavar="SIGMA", help="on a coordinate (default: 0.05)"
    )


def command(options: argparse.Namespace) -> int:
    """Print what gradient inversion and membership inference learn from what is opened."""
    from rich.console import Console

    from eval.bench.privacy import Protection, leaks, privacy_table
    from secure_fl.settings.config import load_config
    from secure_fl.simulation.prepare import prepare
    from secure_fl.threads import torch_threads

    config = load_config(options.overrides)
    bound = config.privacy.clip_norm or 1.0
    protections = (
        Protection("none"),
        Protection(f"clip {bound:g}", bound),
        Protection(f"clip {bound:g}, noise {options.noise:g}", bound, options.noise),
    )
    with torch_threads(config.threads):
        found = leaks(
            prepare(config),
            config.train,
            config.rounds,
            protections=protections,
            rows=options.rows,
            hospital=options.hospital,
            seed=config.seed,
        )
    Console().print(privacy_table(found))
    return 0
