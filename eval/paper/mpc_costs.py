"""What rules cost under MPC, as the documents tell it: rows of `secure-fl bench mpc --json`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial

from eval.paper.rows import Row
from eval.results.growth import along, exponent
from eval.tables.sheet import DASH
from secure_fl.errors import InputError

# Which measurements are kept: rules beside peers, one rule over sizes, one on a slow link.
KINDS = ("rules", "curves", "slow")
# Of a row that is kept.
COLUMNS = (
    *("method", "hospitals", "dim", "nodes", "bits", "latency_ms", "mbit", "repeat"),
    *("seconds_online", "seconds_offline", "rounds", "bytes_per_node_online", "bytes_dealer"),
    *("peak_mib_per_node", "max_abs_error"),
)
HEADER = ("Rule", "Online s", "Offline s", "Rounds", "Online B", "Offline B")
# Peers by how their rows' names begin.
PEERS = {
    "CrypTen over gloo": "median by CrypTen's own operators, gloo",
    "CrypTen over tcp": "the same over our TCP communicator",
    "SPU SEMI2K": "median by a comparator network in SPU 0.9.5, SEMI2K",
}


def rule_lines(rows: Sequence[Row]) -> list[list[str]]:
    """A line a row under `HEADER`: rules from cheap to dear, then peers as they come."""
    ours = [row for row in rows if _peer(row) is None]
    others = [row for row in rows if _peer(row) is not None]
    return [_line(row) for row in [*sorted(ours, key=lambda row: row["seconds_online"]), *others]]


def mpc_figures(kept: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    """Figures of sentences: how time grows with each size, what the widest update takes, and what
    a slow link does to the circuits.

    Args:
        kept: rows by their kind.

    Raises:
        InputError: a measurement lacks a row that a sentence tells of.
    """
    curves = kept["curves"]
    largest = max(along(curves, "dim"), key=lambda row: row["dim"])
    told = {
        f"mpc-grows-{short}": f"{exponent(along(curves, varied), varied):.2f}"
        for varied, short in (("hospitals", "n"), ("dim", "d"))
    }
    slow = partial(_ending, kept["slow"])
    return told | {
        "mpc-largest-seconds": f"{largest['seconds_online']:.1f}",
        "mpc-largest-gib": f"{largest['peak_mib_per_node'] / 1024:.1f}",
        "mpc-slow-chosen": f"{slow('chosen')['seconds_online']:.1f}",
        "mpc-slow-radix": f"{slow('radix')['seconds_online']:.1f}",
    }


def _ending(rows: Sequence[Row], circuits: str) -> Row:
    for row in rows:
        if row["method"].endswith(f", {circuits}"):
            return row
    raise InputError(f"rows on a slow link must have one with circuits {circuits!r}; none has")


def _line(row: Row) -> list[str]:
    peer = _peer(row)
    name = f"`{row['method'].partition(',')[0]}`" if peer is None else peer
    times = [_seconds(row[key]) for key in ("seconds_online", "seconds_offline")]
    sent = [row[key] for key in ("bytes_per_node_online", "bytes_dealer")]
    each = [DASH if value is None else f"{value / row['dim']:,.0f}" for value in sent]
    rounds = DASH if row["rounds"] is None else f"{row['rounds']:,.0f}"
    return [name, *times, rounds, *each]


def _peer(row: Row) -> str | None:
    return next((told for name, told in PEERS.items() if row["method"].startswith(name)), None)


def _seconds(value: float | None) -> str:
    if value is None:
        return DASH
    return f"{value:.0f}" if value >= 10 else f"{value:.2f}"
