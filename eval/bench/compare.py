"""One rule, three backends: the same random updates through `plain`, `fixed` and `mpc`."""

from __future__ import annotations

import torch
from rich.table import Table

from secure_fl.aggregation import build_rule
from secure_fl.backends.aggregate import open_for
from secure_fl.backends.session import BACKENDS
from secure_fl.errors import require
from secure_fl.types import AggregateResult

# Coordinates beyond this many are left out of the printed table.
SHOWN = 12


def compare(
    rule: str, hospitals: int, dim: int, *, seed: int = 0, nodes: int = 2
) -> dict[str, AggregateResult]:
    """Aggregate one set of random updates on every backend.

    Args:
        rule: name of a rule, as the person who compares wrote it.
        hospitals: rows n of the updates.
        dim: columns d.
        seed: of the updates, drawn from a normal distribution around a common direction, and of
            that direction, which is also the public reference.
        nodes: computing nodes of `mpc`.

    Returns:
        Results by backend.
    """
    require(hospitals >= 1, "hospitals", "at least 1", hospitals)
    require(dim >= 1, "dim", "at least 1", dim)
    require(0 <= seed < 2**63, "seed", "from 0 to 2**63 - 1", seed)
    pipeline = build_rule(rule)
    generator = torch.Generator().manual_seed(seed)
    direction = torch.randn(dim, generator=generator, dtype=torch.float32)
    spread = torch.randn(hospitals, dim, generator=generator, dtype=torch.float32)
    updates = (direction + spread) / dim**0.5 / 4
    results = {}
    for name in BACKENDS:
        with open_for(pipeline, name, nodes) as backend:
            session = backend.session(pipeline, hospitals, dim)
            results[name] = session.aggregate(session.submit(updates), reference=direction)
            session.close()
    return results


def comparison_table(rule: str, results: dict[str, AggregateResult]) -> Table:
    """The results side by side: coordinates, verdicts, largest difference, cost."""
    table = Table(title=f"rule {rule}: one set of updates, three backends")
    table.add_column("")
    for name in results:
        table.add_column(name, justify="right")
    columns = list(results.values())
    plain, fixed = results["plain"].update, results["fixed"].update
    for k in range(min(len(plain), SHOWN)):
        table.add_row(f"update[{k}]", *(f"{float(r.update[k]):+.6f}" for r in columns))
    if len(plain) > SHOWN:
        table.add_row("...", *("" for _ in columns))
    table.add_row(
        "accepted", *("".join("1" if flag else "0" for flag in r.accepted) for r in columns)
    )
    for label, other in (("largest gap to plain", plain), ("largest gap to fixed", fixed)):
        table.add_row(label, *(f"{float((r.update - other).abs().max()):.2e}" for r in columns))
    table.add_row("seconds online", *(f"{r.cost.seconds_online:.4f}" for r in columns))
    table.add_row("rounds", *(str(r.cost.rounds) for r in columns))
    table.add_row("bytes sent by a node", *(f"{r.cost.bytes_online:,}" for r in columns))
    table.add_row("opened", *(", ".join(o.name for o in r.opened) for r in columns))
    return table
