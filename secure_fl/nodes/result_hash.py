"""Hashes of a round's outcome: what nodes sign, and what records and chain agree on.

Computed alike by the coordinator, for the records, and by every node, from what it opened itself.
"""

from __future__ import annotations

import math
from collections.abc import Collection
from typing import Any

import torch

from secure_fl.aggregation.openings import digest
from secure_fl.files import canonical_json, sha256
from secure_fl.types import AggregateResult

# An opening with more numbers than this is recorded by its hash alone.
RECORDED_NUMBERS = 64


def verdicts_on_hospitals(accepted: torch.Tensor, present: Collection[int]) -> list[bool | None]:
    """Verdict on each of n hospitals: True or False where it took part, None where it did not.

    Args:
        accepted: bool (n,).
        present: hospitals that took part.
    """
    return [
        bool(verdict) if hospital in present else None
        for hospital, verdict in enumerate(accepted.tolist())
    ]


def openings(number: int, result: AggregateResult) -> list[dict[str, Any]]:
    """Rows of `openings.jsonl`: every value that was opened, by name, shape, unit and hash.

    The hash is over the values as float64, little-endian, in row-major order, taken when they
    were opened.
    """
    rows = []
    for opening in result.opened:
        row: dict[str, Any] = {
            "round": number,
            "name": opening.name,
            "shape": list(opening.shape),
            "unit": opening.unit,
        }
        value = result.values.get(opening.name)
        if value is None and opening.name == "update":  # MPC hands it over as the result alone
            value = result.update
        if value is not None:
            row["sha256"] = result.digests.get(opening.name) or digest(value)
            if value.numel() <= RECORDED_NUMBERS:
                numbers = value.detach().to(torch.float64).flatten().tolist()
                row["value"] = [v if math.isfinite(v) else None for v in numbers]
        rows.append(row)
    return rows


def update_hash(update: torch.Tensor) -> str:
    """SHA-256 of a combined update (d,) as float64, little-endian."""
    return digest(update)


def result_hash(
    number: int, accepted: list[bool | None], opened: list[dict[str, Any]], update_sha256: str
) -> str:
    """Hash of an aggregation, which the nodes sign: SHA-256 of its canonical JSON."""
    record = {
        "round": number,
        "accepted": accepted,
        "openings": opened,
        "update_sha256": update_sha256,
    }
    return sha256(canonical_json(record).encode())
