"""How well a defence names those that attack."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple


class Detection(NamedTuple):
    """Over all hospital-rounds of a run: a hospital in a round is named or not.

    Who is malicious is so in every round, also in those in which a schedule lets it rest or, with
    members drawn anew in each round, others attack.

    Attributes:
        precision: of those named, the share of malicious ones; None where nobody was named, or
            nobody is malicious, so that there is nobody to name.
        recall: of malicious ones, the share named; None where nobody was malicious.
        honest_named: of honest ones, the share named; None where nobody was honest.
    """

    precision: float | None
    recall: float | None
    honest_named: float | None


# Keys of a row that hold a `Detection`, in its order.
KEYS = ("detection_precision", "detection_recall", "honest_named")


def keyed(found: Detection) -> dict[str, float | None]:
    """The figures as a row holds them."""
    return dict(zip(KEYS, found, strict=True))


def detection(
    rounds: Sequence[Mapping[str, Any]], malicious: Collection[int], judges: bool = True
) -> Detection:
    """Compare whom a defence named with who was malicious.

    A hospital is named in a round where the rule rejected its update, where it was refused at the
    door, or while it is suspended.

    Args:
        rounds: rows of `rounds.jsonl`; the initial model's row has no hospitals.
        malicious: indices of the malicious hospitals.
        judges: whether the rule has verdicts at all. Without, and where nobody was refused or
            suspended, nothing is measured.
    """
    bad, caught, named, seats = frozenset(malicious), 0, 0, 0
    for row in rounds:
        if "accepted" not in row:
            continue
        out = {i for i, kept in enumerate(row["accepted"]) if kept is False}
        out |= {int(hospital) for hospital in row["refused"]} | set(row["suspended"])
        caught, named = caught + len(out & bad), named + len(out)
        seats += len(row["accepted"])
    played = [row for row in rounds if "accepted" in row]
    if not judges and not named:
        return Detection(None, None, None)
    guilty = len(bad) * len(played)
    return Detection(
        _share(caught, named) if bad else None,
        _share(caught, guilty),
        _share(named - caught, seats - guilty),
    )


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None
