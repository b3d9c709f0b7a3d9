"""`secure-fl bench mpc`: what a rule costs between computing nodes, beside other ways to do it.

Every row starts processes of its own, warms them up once and takes the median of several
repetitions. Times hold for the machine they were taken on: compare rows of one run.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import secure_fl
from eval.bench.slow_link import SlowLink
from eval.results.growth import along, exponent, varied_sizes
from secure_fl.errors import InputError, require

if TYPE_CHECKING:
    import torch

    from secure_fl.mpc.planning import Network

Row = dict[str, Any]

# Integers have 16 fractional bits and one for the sign.
FRACTION_BITS = 16
# Of the widest coordinate that a rule takes (`max_abs` of 2^14).
MAX_BITS = 31

# CrypTen's own operators are linear in d: measured on few coordinates, the rest is extrapolated.
PEER_DIM = 1_000
# Blocks side by side on a slow link.
LANES = 4
COLUMNS = {
    "method": "Method",
    "hospitals": "n",
    "dim": "d",
    "nodes": "Nodes",
    "seconds_online": "Online",
    "seconds_offline": "Offline",
    "rounds": "Rounds",
    "bytes_per_coordinate": "B/coord",
    "dealer_per_coordinate": "Dealer",
    "peak_mib_per_node": "MiB",
    "max_abs_error": "Error",
}
CAPTION = (
    "Online, Offline: seconds. B/coord: bytes a node sends for each coordinate, online; Dealer: "
    "those the dealer sends, offline. MiB: most memory of a node. Error: against `fixed`. "
    "* measured with fewer coordinates."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the options of `secure-fl bench mpc`."""
    parser.add_argument(
        "--rule",
        nargs="+",
        default=["median"],
        help="rules, or module:function of yours (default: median)",
    )
    several = "the first is the base, others are varied on their own"
    parser.add_argument("--hospitals", type=int, nargs="+", default=[20], metavar="N", help=several)
    parser.add_argument("--dim", type=int, nargs="+", default=[100_000], metavar="D", help=several)
    parser.add_argument("--nodes", type=int, nargs="+", default=[2], metavar="K")
    parser.add_argument(
        "--bits", type=int, nargs="+", default=[18], metavar="B", help="width of a coordinate"
    )
    parser.add_argument("--repeat", type=int, default=5, help="repetitions (default: 5)")
    parser.add_argument(
        "--latency-ms", type=float, help="one-way delay between nodes, through a slow link"
    )
    parser.add_argument("--mbit", type=float, default=1000.0, help="its throughput, Mbit/s")
    parser.add_argument(
        "--peers",
        action="store_true",
        help="also CrypTen's own operators, over its communicator and ours, and SPU if the "
        "environment variable SPU_PYTHON names an interpreter that has it",
    )
    parser.add_argument("--figure", type=Path, metavar="PNG", help="draw curves over n and d")
    parser.add_argument("--json", action="store_true", help="print JSON lines, not a table")


def command(options: argparse.Namespace) -> int:
    """Measure and print; returns the exit status."""
    check_options(options)
    rows: list[Row] = []

    def emit(row: Row) -> None:
        rows.append(row)
        if options.json:
            print(json.dumps(row), flush=True)
        else:
            print(f"  {row['method']}: {row['seconds_online']:.3f} s online", file=sys.stderr)

    for row in measurements(options):
        emit(row)
    if options.figure is not None:
        from eval.bench.figure import curves

        options.figure.write_bytes(curves(rows))
    if not options.json:
        from rich.console import Console

        console = Console()
        console.width = max(console.width, 100)  # a narrower table loses figures
        console.print(table(rows))
        for line in growth(rows):
            console.print(line, highlight=False)
    return 0


def check_options(options: argparse.Namespace) -> None:
    """Refuse what cannot be measured or written, before anything is measured.

    Raises:
        SecureFLError: naming the option.
    """
    from secure_fl.aggregation import build_rule

    require(options.repeat >= 1, "--repeat", "at least 1", options.repeat)
    for name in options.rule:
        build_rule(name)
    for bits in options.bits:
        require(FRACTION_BITS < bits <= MAX_BITS, "--bits", f"from 17 to {MAX_BITS}", bits)
    for nodes in options.nodes:
        require(2 <= nodes <= 4, "--nodes", "2, 3 or 4", nodes)
    for key in ("hospitals", "dim"):
        for value in getattr(options, key):
            require(value >= 1, f"--{key}", "at least 1", value)
    latency, mbit = options.latency_ms, options.mbit
    if latency is not None:
        require(0 <= latency <= 60_000, "--latency-ms", "from 0 to 60000", latency)
    require(0 < mbit < math.inf, "--mbit", "> 0 and finite", mbit)
    if options.figure is None:
        return
    if len({*options.dim}) < 2 and len({*options.hospitals}) < 2:
        raise InputError("--figure needs several values of --dim or of --hospitals")
    target = options.figure
    fits = target.suffix == ".png" and target.parent.is_dir() and not target.is_dir()
    require(fits, "--figure", "a file .png in an existing folder", str(target))


def growth(rows: Sequence[Row]) -> list[str]:
    """Say how online time grows with each size that was varied, method by method."""
    lines = []
    for varied in varied_sizes(rows):
        for method in dict.fromkeys(row["method"] for row in rows):
            some = [row for row in along(rows, varied) if row["method"] == method]
            if len({row[varied] for row in some}) > 1:
                slope = exponent(some, varied)
                lines.append(f"{method}: online time grows as {COLUMNS[varied]}^{slope:.2f}")
    return lines


def sweep(hospitals: Sequence[int], dims: Sequence[int]) -> list[tuple[int, int]]:
    """Return sizes (n, d) to measure: the first of each, then each varied on its own."""
    base = hospitals[0], dims[0]
    return [base, *((base[0], d) for d in dims[1:]), *((n, base[1]) for n in hospitals[1:])]


def measurements(options: argparse.Namespace) -> Iterator[Row]:
    """Yield the rows of a benchmark, one after the other."""
    for rule, nodes, bits in product(options.rule, options.nodes, options.bits):
        for hospitals, dim in sweep(options.hospitals, options.dim):
            yield from measure(rule, hospitals, dim, nodes, bits, options)
    if options.peers:
        hospitals, dim = options.hospitals[0], options.dim[0]
        for communicator in ("gloo", "tcp"):
            yield crypten_median(hospitals, dim, communicator, options.repeat)
        if os.environ.get("SPU_PYTHON"):
            yield spu_median(hospitals, dim, os.environ["SPU_PYTHON"])


def inputs(hospitals: int, dim: int, bits: int) -> torch.Tensor:
    """Random updates (n, d) within half the range of the width, exact at 16 fractional bits."""
    import torch

    rng = torch.Generator().manual_seed(dim)
    limit = 1 << (bits - 2)
    whole = torch.randint(-limit, limit, (hospitals, dim), generator=rng)
    return whole.double() / 2**FRACTION_BITS


def measure(
    name: str, hospitals: int, dim: int, nodes: int, bits: int, options: argparse.Namespace
) -> Iterator[Row]:
    """Yield the row of one rule; on a slow link one for each method, and the model's choice.

    Raises:
        InputError: a size out of range, or a rule that does not exist.
    """
    from secure_fl.aggregation import build_rule
    from secure_fl.mpc.planning import Network

    rule = replace(build_rule(name), max_abs=2.0 ** (bits - 1 - FRACTION_BITS))
    x = inputs(hospitals, dim, bits)
    if options.latency_ms is None:
        yield _row(f"{name}, {bits} bits", rule, x, nodes, bits, options.repeat)
        return
    # What one machine costs comes on top of the link.
    local = Network()
    latency = options.latency_ms + local.latency_ms
    mbit = 1 / (1 / options.mbit + 1 / local.mbit)
    link = (options.latency_ms, options.mbit)
    for label, network in {
        f"{name}, radix": Network(0.0, local.mbit),
        f"{name}, pairwise": Network(1e9, local.mbit),
        f"{name}, chosen": Network(latency, mbit),
        f"{name}, chosen, {LANES} lanes": Network(latency, mbit, LANES),
    }.items():
        yield _row(label, rule, x, nodes, bits, options.repeat, network, link)


def _row(
    label: str,
    rule: Any,
    x: torch.Tensor,
    nodes: int,
    bits: int,
    repeat: int,
    network: Network | None = None,
    link: tuple[float, float] | None = None,
) -> Row:
    """Run a rule in processes of its own and compare with `fixed`."""
    from secure_fl.backends.aggregate import open_for

    reference = x[0]
    public: dict[str, Any] = {"reference": reference, "model": reference}
    with ExitStack() as stack:
        route = {} if link is None else {"route": stack.enter_context(SlowLink(*link)).route}
        backend = stack.enter_context(open_for(rule, "mpc", nodes, network=network, **route))
        results = [secure_fl.aggregate(x, rule, backend, **public) for _ in range(repeat + 1)][1:]
    last = results[-1]
    expected = secure_fl.aggregate(x, rule, "fixed", seed=last.seed, **public)
    costs = [result.cost for result in results]
    error = float((last.update - expected.update).abs().max())
    return {
        "method": label,
        "hospitals": x.shape[0],
        "dim": x.shape[1],
        "nodes": nodes,
        "bits": bits,
        "latency_ms": None if link is None else link[0],
        "mbit": None if link is None else link[1],
        "repeat": repeat,
        "seconds_online": statistics.median(cost.seconds_online for cost in costs),
        "seconds_offline": statistics.median(cost.seconds_offline for cost in costs),
        "rounds": costs[0].rounds,
        "bytes_per_node_online": costs[0].bytes_online,
        "bytes_per_coordinate": costs[0].bytes_online / x.shape[1],
        "bytes_dealer": costs[0].bytes_offline,
        "dealer_per_coordinate": costs[0].bytes_offline / x.shape[1],
        "peak_mib_per_node": max(cost.peak_mib for cost in costs),
        "max_abs_error": error,
    }


def crypten_median(hospitals: int, dim: int, communicator: str, repeat: int) -> Row:
    """Row of the rank-based median out of CrypTen's own comparisons, two parties.

    Measured on at most `PEER_DIM` coordinates and scaled to `dim`, since it is linear in d.

    Raises:
        InputError: the peers' processes failed.
    """
    measured = min(dim, PEER_DIM)
    arguments = [str(hospitals), str(measured), communicator, str(repeat)]
    with tempfile.TemporaryDirectory() as folder:
        environment = {
            **os.environ,
            "WORLD_SIZE": "2",
            "RENDEZVOUS": f"file://{folder}/rendezvous",
            "OMP_NUM_THREADS": "1",
        }
        program = [sys.executable, "-P", "-m", "eval.bench.crypten_peer", *arguments]
        processes = [
            subprocess.Popen(
                program, env={**environment, "RANK": str(rank)}, stdout=subprocess.PIPE, text=True
            )
            for rank in range(2)
        ]
        outputs = [process.communicate()[0] for process in processes]
    if any(process.returncode for process in processes):
        raise InputError("the peer's processes failed; their messages are above")
    figures = json.loads(outputs[0].splitlines()[-1])
    figures["bytes"] /= 2  # CrypTen counts what a party sends and what it receives
    scale = dim / measured
    return {
        "method": f"CrypTen over {communicator}" + "*" * (scale > 1),
        "hospitals": hospitals,
        "dim": dim,
        "nodes": 2,
        "bits": 64,
        "repeat": repeat,
        "seconds_online": figures["seconds"] * scale,
        "seconds_offline": None,
        "rounds": figures["rounds"],
        "bytes_per_node_online": figures["bytes"] * scale,
        "bytes_per_coordinate": figures["bytes"] / measured,
        "bytes_dealer": None,
        "peak_mib_per_node": figures["peak_mib"],
        "max_abs_error": figures["error"],
    }


def spu_median(hospitals: int, dim: int, interpreter: str) -> Row:
    """Row of a comparator network in SPU (SEMI2K, two parties), run by another interpreter.

    Raises:
        InputError: that interpreter has no SPU, or the program failed.
    """
    program = Path(__file__).with_name("spu_peer.py")
    done = subprocess.run(
        [interpreter, str(program), str(hospitals), str(dim)],
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    if done.returncode:
        raise InputError(f"SPU_PYTHON={interpreter} could not run {program.name}")
    figures = json.loads(done.stdout.splitlines()[-1])
    return {
        "method": "SPU SEMI2K",
        "hospitals": hospitals,
        "dim": dim,
        "nodes": 2,
        "bits": 64,
        "repeat": 1,
        "seconds_online": figures["seconds"],
        "seconds_offline": None,
        "rounds": None,
        "bytes_per_node_online": None,
        "bytes_per_coordinate": None,
        "bytes_dealer": None,
        "peak_mib_per_node": None,
        "max_abs_error": figures["error"],
    }


def table(rows: Sequence[Row]) -> Any:
    """Draw rows as a table for the console."""
    from rich import box
    from rich.table import Table

    fixed = [k for k in ("hospitals", "nodes") if len({row[k] for row in rows}) == 1]
    title = ", ".join(f"{COLUMNS[key]} = {rows[0][key]}" for key in fixed)
    drawn = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0))
    drawn.caption, drawn.caption_justify = CAPTION, "left"
    shown = [key for key in COLUMNS if key not in fixed]
    for key in shown:
        justify: Literal["left", "right"] = "left" if key == "method" else "right"
        drawn.add_column(COLUMNS[key], justify=justify, no_wrap=True)
    for row in rows:
        drawn.add_row(*(_cell(key, row.get(key)) for key in shown))
    return drawn


def _cell(key: str, value: Any) -> str:
    if value is None:
        return "–"
    if isinstance(value, str):
        return value
    if key.startswith("seconds"):
        return f"{value:.3f}"
    if key == "max_abs_error":
        return f"{value:.1g}" if value else "0"
    return f"{value:,.0f}"
