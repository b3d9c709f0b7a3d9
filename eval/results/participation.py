"""Who took part in a cell's rounds, and what of it a reader must be told.

A round goes on without the hospitals that are refused, and keeps the model where nobody is left. It
must not do so in silence: a result is worth little if honest hospitals were kept out of it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

Row = Mapping[str, Any]
# Warnings that a table's note spells out; the report has all.
MOST = 4


def warnings(rounds: Sequence[Row], malicious: Sequence[int], hospitals: int) -> list[str]:
    """Sentences on what went wrong over a cell's rounds; none if all honest updates counted.

    Args:
        rounds: rows of `rounds.jsonl`.
        malicious: indices of the malicious hospitals.
        hospitals: number of all.
    """
    played = [row for row in rounds if row["round"] > 0]
    bad = set(malicious)
    return [
        *_refused(played, bad, hospitals - len(bad)),
        *_often("no hospital's update was combined", played, lambda row: not _combined(row)),
        *_often(
            "only malicious hospitals' updates were combined",
            played,
            lambda row: bool(_combined(row)) and _combined(row) <= bad,
        ),
        *_often(
            "the model's loss on the validators' rows was not finite",
            played,
            lambda row: row["loss"] is None,
        ),
    ]


def note(rows: Sequence[Row]) -> str:
    """The first warnings of a run's cells as one text; empty if there are none."""
    told = [f"{row['cell']}: {said}." for row in rows for said in row.get("warnings") or ()]
    more = [f"And {len(told) - MOST} more."] if len(told) > MOST else []
    return " ".join(["WARNING.", *told[:MOST], *more]) if told else ""


def _combined(row: Row) -> set[int]:
    return {hospital for hospital, kept in enumerate(row["accepted"]) if kept}


def _often(what: str, played: Sequence[Row], holds: Callable[[Row], bool]) -> list[str]:
    count = sum(holds(row) for row in played)
    return [f"{what} in {count} of {len(played)} rounds"] if count else []


def _refused(played: Sequence[Row], bad: set[int], honest: int) -> list[str]:
    """That honest hospitals' updates were refused, with one reason."""
    refused = [
        [(int(h), why) for h, why in row["refused"].items() if int(h) not in bad] for row in played
    ]
    rounds = [each for each in refused if each]
    if not rounds:
        return []
    worst = max(rounds, key=len)
    hospital, why = worst[0]
    return [
        f"honest hospitals were refused in {len(rounds)} of {len(played)} rounds, up to "
        f"{len(worst)} of {honest} at once (hospital {hospital}: {why})"
    ]
