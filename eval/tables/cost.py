"""Time and traffic of a round."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from eval.results.records import Row
from eval.tables.averages import average, methods, per_round
from eval.tables.sheet import DASH, Sheet, megabytes, seconds


def cost_sheet(rows: Sequence[Row]) -> Sheet:
    """Time and traffic per round, averaged over all cells of a defence."""
    keys: tuple[tuple[str, Callable[[float], str]], ...] = (
        ("seconds", seconds),
        ("mpc_seconds_online", seconds),
        ("mpc_seconds_offline", seconds),
        ("mpc_bytes_online", megabytes),
        ("mpc_bytes_offline", megabytes),
    )
    body = []
    for name, label in methods(rows):
        own = [row for row in rows if row["defence"] == name]
        line = [label]
        for key, render in keys:
            value = per_round(own, key)
            line.append(DASH if not value else render(value))
        ledger = average([row.get("ledger_ms_per_round") for row in own])
        line.append(DASH if not ledger else f"{ledger:.0f}")
        body.append(line)
    header = ["Method", "Round s", "MPC online s", "MPC offline s", "Online MB", "Offline MB"]
    return Sheet(
        "Cost of a round",
        [*header, "Ledger ms"],
        body,
        "Mean over all cells. Round s: a cell's whole time over its rounds, set-up and tests "
        "included. Online MB: sent by the busiest node; offline MB: by the dealer. Ledger ms: "
        "processor time.",
    )
