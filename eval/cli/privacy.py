"""`secure-fl privacy`: attacks on what is opened, and what each layer buys."""

from __future__ import annotations

import argparse
import math
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from eval.bench.privacy import Protection
    from secure_fl.settings.schema import ExperimentConfig


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl privacy`."""
    parser.description = (
        "Ask one update, the aggregate and the final model which rows they were trained on: "
        "without protection, with the norm bound (privacy.clip_norm, or 1), and with noise on top."
    )
    parser.add_argument("overrides", nargs="*", metavar="KEY=VALUE", help="as of `secure-fl run`")
    parser.add_argument(
        "--rows", type=int, default=1, metavar="M", help="in the step that is inverted (default: 1)"
    )
    parser.add_argument(
        "--steps", type=int, default=200, metavar="N", help="of the search for it (default: 200)"
    )
    parser.add_argument(
        "--noise",
        type=float,
        nargs="+",
        metavar="SIGMA",
        help="on a coordinate (default: 0.05, and the most that fits the range of `paper`)",
    )
    parser.add_argument(
        "--shadows",
        type=int,
        default=8,
        metavar="S",
        help="models that the attacker trains; even (default: 8)",
    )
    parser.add_argument(
        "--out", type=Path, metavar="DIR", help="new folder for the table, its data and its figure"
    )


def command(options: argparse.Namespace) -> int:
    """Print what is learned from what is opened; returns the exit status.

    Raises:
        InputError: a number that cannot be, or a folder that exists.
        ConfigError: noise that cannot fit the range of the framework's rule, or other bad settings.
    """
    from rich.console import Console

    from eval.bench.privacy import Plan, leaks
    from eval.bench.privacy_figure import layers
    from eval.bench.privacy_table import LEGEND, markdown, privacy_table, records
    from secure_fl.errors import require
    from secure_fl.files import write_atomic, write_json
    from secure_fl.settings.config import load_config
    from secure_fl.simulation.prepare import prepare
    from secure_fl.threads import torch_threads

    out: Path | None = options.out
    require(out is None or not out.exists(), "--out", "a new folder", str(out))
    config = load_config(options.overrides)
    plan = Plan(
        config.train,
        config.rounds,
        balance=config.data.balance,
        shadows=options.shadows,
        rows=options.rows,
        seed=config.seed,
        inversion={"steps": options.steps},
    )
    # Rows that a hospital repeats would be on both sides of the cut.
    federation = prepare(load_config([*options.overrides, "data.balance=false"]))
    protections = _protections(config, options.noise, federation.model.num_parameters)
    with torch_threads(config.threads):
        found = list(leaks(federation, plan, protections))
    console = Console()
    console.width = max(console.width, 130)  # a narrower table loses figures
    console.print(privacy_table(found))
    console.print(LEGEND, markup=False, highlight=False)
    if out is not None:
        out.mkdir(parents=True)
        write_json(out / "privacy.json", records(found))
        write_atomic(out / "privacy.md", f"{markdown(found)}\n{LEGEND}\n".encode())
        write_atomic(out / "privacy.png", layers(found))
    return 0


def _protections(
    config: ExperimentConfig, noise: list[float] | None, dim: int
) -> tuple[Protection, ...]:
    """Nothing, the bound alone, and each noise, held to the range of the framework's rule."""
    from eval.bench.privacy import Protection
    from secure_fl.settings.config import load_defence
    from secure_fl.settings.feasible import check_defence, largest_noise
    from secure_fl.settings.schema import PrivacyConfig

    bound, defence = config.privacy.clip_norm or 1.0, load_defence("paper")
    if noise is None:
        most = math.floor(100 * largest_noise(defence.build().limit, dim)) / 100
        noise = [0.05, most]
    for sigma in noise:
        check_defence(defence, PrivacyConfig(bound, sigma), config.data.hospitals, dim)
    return (
        Protection("none"),
        Protection(f"clip {bound:g}", bound),
        *(Protection(f"clip {bound:g}, noise {sigma:g}", bound, sigma) for sigma in noise),
    )
