"""What privacy noise spends in a run: each hospital's own budget, and that of the opened means."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any

from eval.results.records import Row
from secure_fl.hospital.privacy import DELTA, epsilon
from secure_fl.settings.defence import DefenceConfig
from secure_fl.settings.schema import PrivacyConfig

# Keys that rows of an earlier version, whose budget was a looser bound, do not all have.
KEYS = ("epsilon", "epsilon_by_hospital", "epsilon_aggregate")


def budgets(
    defence: DefenceConfig, privacy: PrivacyConfig, rows: Sequence[Row], malicious: Sequence[int]
) -> dict[str, Any]:
    """What a cell's row says of privacy, at `DELTA`; empty lists and None without noise.

    - `epsilon_by_hospital`: of each against whoever sees its noisy updates; None where no number
      holds it.
    - `epsilon`: the largest of an honest one.
    - `epsilon_aggregate`: the largest of an honest one against whoever sees the opened means alone.
      Only where the rule is a plain mean, uniform or by rows: noises add up in no other. Malicious
      hospitals' noise is not counted, nor, beyond their number, that of `defence.colluders` others
      with the largest weights.

    Args:
        rows: of the rounds played.
        malicious: seats that attack in some round.
    """
    clip_norm, sigma = privacy.clip_norm, privacy.noise_sigma
    if sigma == 0 or clip_norm is None:
        return dict(zip(KEYS, (None, [], None), strict=True))

    def spent(noises: Sequence[float]) -> float:
        return epsilon(clip_norm, sigma, noises, DELTA)

    seats = range(max((len(row["accepted"]) for row in rows), default=0))
    own = [spent([1.0] * sum(_sent(row, seat) for row in rows)) for seat in seats]
    honest = [seat for seat in seats if seat not in malicious] or list(seats)
    weighing = _weighing(defence)
    opened = None
    if weighing is not None:
        quiet = max(0, (defence.colluders or 0) - len(malicious))
        opened = max(
            (spent(list(_noises(rows, seat, weighing, malicious, quiet))) for seat in honest),
            default=0.0,
        )
    most = max((own[seat] for seat in honest), default=0.0)
    return {
        "epsilon": _finite(most),
        "epsilon_by_hospital": [_finite(each) for each in own],
        "epsilon_aggregate": None if opened is None else _finite(opened),
    }


def _sent(row: Row, seat: int) -> bool:
    """Whether a hospital handed in an update in a round, even one that did not count."""
    seen = row["accepted"][seat] is not None
    return seen or seat in row["unopened"] or str(seat) in row["refused"]


def _weighing(defence: DefenceConfig) -> str | None:
    """How the rule weighs, if it is a mean alone with weights that a round's row tells."""
    if defence.own_names:
        return None
    stages = defence.build().stages
    by = dict(stages[0].config[1]).get("by") if len(stages) == 1 and stages[0].linear else None
    return by if by in ("uniform", "samples") else None


def _noises(
    rows: Sequence[Row], seat: int, weighing: str, malicious: Sequence[int], quiet: int
) -> Iterator[float]:
    """For each round in which a hospital counted, the honest noises on its update, its own too."""
    for row in rows:
        present = [i for i, verdict in enumerate(row["accepted"]) if verdict is not None]
        weights = {i: 1.0 if weighing == "uniform" else float(row["samples"][i]) for i in present}
        own = weights.get(seat, 0.0)
        if own <= 0:
            continue
        others = sorted(w**2 for i, w in weights.items() if i != seat and i not in malicious)
        yield 1 + math.fsum(others[: len(others) - quiet] if quiet < len(others) else ()) / own**2


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None
