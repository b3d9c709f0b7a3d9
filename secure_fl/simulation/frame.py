"""Rounds as a table: one row a round, one number a column."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas

# Of a record these are told as they are, where they are there.
_PLAIN = ("round", "status", "accuracy", "loss", "f1", "test_accuracy", "attack_success")


def rounds_frame(
    rows: Sequence[Mapping[str, Any]], malicious: Sequence[int] = ()
) -> pandas.DataFrame:
    """Rows of `rounds.jsonl` as a data frame, the initial model first.

    Columns: round, status, the validators' medians (accuracy, loss, f1), test_accuracy and
    attack_success where they were measured; how many hospitals were accepted, rejected, refused and
    suspended, and of the rejected how many were malicious; mean reputation of honest and malicious
    hospitals; seconds, ledger_ms, and the nodes' rounds and bytes; model_sha256. What a round does
    not have is NaN or None.
    """
    import pandas

    return pandas.DataFrame([_line(row, frozenset(malicious)) for row in rows])


def _line(row: Mapping[str, Any], malicious: frozenset[int]) -> dict[str, Any]:
    line = {key: row[key] for key in _PLAIN if key in row}
    if "accepted" in row:
        rejected = [i for i, kept in enumerate(row["accepted"]) if kept is False]
        line["accepted"] = sum(kept is True for kept in row["accepted"])
        line["rejected"] = len(rejected)
        line["rejected_malicious"] = sum(i in malicious for i in rejected)
        line["refused"], line["suspended"] = len(row["refused"]), len(row["suspended"])
        line |= _reputations(row["reputation"], malicious)
        line["seconds"], line["ledger_ms"] = sum(row["seconds"].values()), row["ledger_ms"]
        line |= {f"mpc_{key}": value for key, value in row["mpc"].items()}
    line["model_sha256"] = row["model_sha256"]
    return line


def _reputations(values: Sequence[float] | None, malicious: frozenset[int]) -> dict[str, float]:
    """Mean reputation of honest and of malicious hospitals; nothing without a ledger."""
    if values is None:
        return {}
    parts: dict[str, list[float]] = {"honest": [], "malicious": []}
    for i, value in enumerate(values):
        parts["malicious" if i in malicious else "honest"].append(value)
    return {f"reputation_{who}": sum(v) / len(v) for who, v in parts.items() if v}
