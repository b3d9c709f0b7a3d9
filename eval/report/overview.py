"""The head of the report: what was run, what to know of it first, each method at a glance."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from eval import tables
from eval.results.records import Row, Run
from eval.results.style import (
    NO_ATTACK,
    ROOT_ONLY,
    attack_label,
    defence_label,
    headline_fraction,
    looks,
    malicious_words,
)


class Tile(NamedTuple):
    """One method at a glance."""

    label: str
    colour: str
    accuracy: str
    gain: str
    worst: str
    worst_attack: str


def header_facts(run: Run) -> list[tuple[str, str]]:
    """What was run, as name and value, for the head of the report."""
    config, facts = run.config, []
    data = config.get("data")
    data = data if isinstance(data, Mapping) else {}
    model = config.get("model")
    hospitals = data.get("hospitals") or next((r.get("hospitals") for r in run.rows), None)
    shares = sorted({r["malicious_fraction"] for r in run.rows if r["attack"] != NO_ATTACK})
    candidates = (
        ("Data", data.get("name")),
        ("Hospitals", hospitals),
        ("Malicious", ", ".join(malicious_words(share, hospitals) for share in shares)),
        *_division(data),
        ("Model", model.get("name") if isinstance(model, Mapping) else model),
        ("Rounds, at most", config.get("rounds")),
        ("Seed", config.get("seed")),
        ("Cells", len(run.cells)),
        ("Job", _duration(run.summary.get("seconds"))),
        ("Created", _moment(run.summary.get("created") or run.environment.get("created"))),
    )
    for name, value in candidates:
        if value is not None and value != "":
            facts.append((name, str(value)))
    return facts


def _division(data: Mapping[str, Any]) -> list[tuple[str, Any]]:
    """How rows were divided among hospitals; older runs say alpha alone."""
    partition = data.get("partition") or "dirichlet"
    if partition == "dirichlet":
        return [("Dirichlet α", data.get("alpha"))]
    of = {"column": "site", "quantity": "alpha", "classes": "classes_per_hospital"}.get(partition)
    value = data.get(of) if of else None
    return [("Partition", partition if value is None else f"{partition}, {of} {value}")]


def warned_cells(run: Run) -> list[str]:
    """What a reader must know of single cells before any number: failures, and who was left out."""
    failed = [f"{each['cell']} failed: {each['reason']}" for each in run.summary.get("failed", ())]
    return failed + [
        f"{row['cell']}: {said}" for row in run.rows for said in row.get("warnings") or ()
    ]


def insecure_cells(rows: Sequence[Row]) -> list[str]:
    """Methods whose correlated randomness came from a party that could decrypt everything."""
    return list(dict.fromkeys(defence_label(row) for row in rows if row.get("insecure")))


def tiles(rows: Sequence[Row]) -> list[Tile]:
    """Clean accuracy, gain over the root alone and worst attack at the headline fraction."""
    fraction = headline_fraction(rows)
    root = next((row["accuracy"] for row in rows if row["defence"] == ROOT_ONLY), None)
    made = []
    for look in looks(rows):
        own = [row for row in rows if row["defence"] == look.name]
        clean = next((row["accuracy"] for row in own if row["attack"] == NO_ATTACK), None)
        attacked = [
            (float(row["attack_success_excess"]), attack_label(str(row["attack"])))
            for row in own
            if row["malicious_fraction"] == fraction
            and row.get("attack_success_excess") is not None
        ]
        worst = max(attacked, default=None)
        made.append(
            Tile(
                look.label,
                look.colour,
                tables.percent(clean),
                "" if clean is None or root is None else tables.points(clean - root),
                tables.points(worst[0] if worst else None),
                worst[1] if worst else "no attack run",
            )
        )
    return made


def _moment(created: object) -> str:
    """Shorten an ISO time to minutes; leave anything else as it is."""
    text = str(created or "")
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        return text
    zone = f" {moment.tzname()}" if moment.tzinfo else ""
    return f"{moment:%Y-%m-%d %H:%M}{zone}"


def _duration(seconds: float | None) -> str | None:
    if seconds is None:
        return None
    minutes, rest = divmod(round(float(seconds)), 60)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
