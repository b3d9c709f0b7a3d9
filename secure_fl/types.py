"""Values that aggregation returns, the same for every backend."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

import torch


class Opening(NamedTuple):
    """One value that left the shared world, as it was declared.

    Attributes:
        name, shape: see `secure_fl.aggregation.openings.Opens`.
        unit: numbers left as whole multiples of it, divided afterwards, in public, by a count;
            None for bits.
    """

    name: str
    shape: tuple[int, ...]
    unit: float | None = None


@dataclass(frozen=True)
class Cost:
    """What one aggregation cost.

    Seconds are wall-clock; `rounds` counts exchanges between the computing nodes; bytes are the
    largest amount that any one node (online) or the dealer (offline) sent; `peak_mib` is the most
    memory that any node's process has used so far, in MiB. Zero in the clear.
    """

    seconds_online: float = 0.0
    seconds_offline: float = 0.0
    rounds: int = 0
    bytes_online: int = 0
    bytes_offline: int = 0
    peak_mib: float = 0.0


@dataclass(frozen=True)
class AggregateResult:
    """Outcome of one aggregation.

    Attributes:
        update: float64 (d,), the combined update.
        accepted: bool (n,), hospitals whose update the rule did not reject.
        opened: every value opened, in order. In the clear: what MPC would have opened.
        values: the opened values themselves, by name.
        digests: SHA-256 of each value at the moment when it was opened, by name; none in
            the plain backend.
        cost: time, rounds and traffic.
        seed: 32 public bytes, from which rules drew groups, places or noise (`public_seed`); in
            the clear zeros where it drew none.
    """

    update: torch.Tensor
    accepted: torch.Tensor
    opened: list[Opening]
    values: dict[str, torch.Tensor] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    cost: Cost = field(default_factory=Cost)
    seed: bytes = bytes(32)
