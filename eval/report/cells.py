"""The report's cells: their facts and rounds as text, what they opened, their chains."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from eval import metrics, tables
from eval.results.records import Cell, Row
from eval.results.style import NO_ATTACK, attack_label, defence_label, malicious_words


def rejection_shares(cell: Cell) -> tuple[float | None, float | None]:
    """Share of submissions not accepted, of honest and of malicious hospitals.

    None where no round says, or where the group is empty.
    """
    bad = set(cell.row.get("malicious") or [])
    honest: list[bool] = []
    malicious: list[bool] = []
    for record in cell.rounds:
        for hospital, accepted in enumerate(record.get("accepted") or []):
            if accepted is not None:
                (malicious if hospital in bad else honest).append(not accepted)
    shares = [sum(group) / len(group) if group else None for group in (honest, malicious)]
    return shares[0], shares[1]


def cell_groups(cells: Iterable[Cell]) -> list[dict[str, Any]]:
    """Cells by defence, each with its facts and its rounds as text."""
    groups: dict[str, dict[str, Any]] = {}
    for cell in cells:
        label = defence_label(cell.row)
        groups.setdefault(label, {"label": label, "cells": []})["cells"].append(_cell(cell))
    return list(groups.values())


def opened_summary(cells: Iterable[Cell]) -> list[list[str]]:
    """Each distinct opening of each MPC method: method, name, shape, how many times in all."""
    counted: dict[tuple[str, str, str], int] = {}
    for cell in cells:
        if cell.row.get("backend") == "mpc":
            for opening in cell.openings:
                shape = " × ".join(str(size) for size in opening.get("shape") or []) or "scalar"
                key = (defence_label(cell.row), str(opening.get("name")), shape)
                counted[key] = counted.get(key, 0) + 1
    return [[*key, str(times)] for key, times in counted.items()]


def ledger_summary(cells: Iterable[Cell]) -> list[list[str]]:
    """Cells with a chain: rounds by status, suspended hospitals, time, head of the chain."""
    lines = []
    for cell in cells:
        head = cell.row.get("chain_head")
        if not head:
            continue
        statuses = [r.get("status") for r in cell.rounds if r.get("round")]
        counts = {status: statuses.count(status) for status in dict.fromkeys(statuses)}
        cost = cell.row.get("ledger_ms_per_round")
        lines.append(
            [
                _cell_label(cell.row),
                ", ".join(f"{number} {status}" for status, number in counts.items()),
                tables.DASH if cost is None else f"{cost:.0f}",
                str(head),
            ]
        )
    return lines


def _cell(cell: Cell) -> dict[str, Any]:
    row = cell.row
    honest, malicious = rejection_shares(cell)
    facts = [
        ("Malicious hospitals", ", ".join(str(h) for h in row.get("malicious") or []) or "none"),
        ("Rejected, honest", tables.percent(honest)),
        ("Rejected, malicious", tables.percent(malicious)),
        ("Naming precision", tables.percent(row.get("detection_precision"))),
        ("Naming recall", tables.percent(row.get("detection_recall"))),
        ("Rounds run", str(row.get("rounds_run") or tables.DASH)),
        ("Drift alarms", _drift_alarms(cell.rounds)),
        ("Backend", _backend(row)),
        ("Final model, SHA-256", str(row.get("final_model_sha256") or tables.DASH)),
        ("Head of the chain", str(row.get("chain_head") or tables.DASH)),
    ]
    return {
        "label": attack_label(str(row["attack"])),
        "fraction": None
        if row["attack"] == NO_ATTACK
        else malicious_words(row["malicious_fraction"], row.get("hospitals")),
        "accuracy": tables.percent(row["accuracy"]),
        "excess": tables.points(row.get("attack_success_excess")),
        "attacked": row["attack"] != NO_ATTACK,
        "facts": facts,
        "header": [
            "Round",
            "Test accuracy",
            "Attack success",
            "Validators' accuracy",
            "Loss",
            "F1",
            "Rejected",
            "Lowest reputation",
            "Drift",
            "Status",
            "Seconds",
        ],
        "rounds": [_round(record) for record in cell.rounds],
    }


def _drift_alarms(rounds: Sequence[Mapping[str, Any]]) -> str:
    """Rounds in which the model moved much further than before, as text."""
    known = [record for record in rounds if record.get("drift") is not None]
    alarms = metrics.drift_alarms([float(record["drift"]) for record in known])
    marked = [str(record["round"]) for record, alarm in zip(known, alarms, strict=True) if alarm]
    return f"round {', '.join(marked)}" if marked else "none"


def _round(record: Mapping[str, Any]) -> list[str]:
    accepted = record.get("accepted") or []
    rejected = [str(i) for i, ok in enumerate(accepted) if ok is False]
    refused = [f"{hospital} (refused)" for hospital in record.get("refused") or {}]
    loss, reputation = record.get("loss"), record.get("reputation")
    spent = record.get("seconds")
    return [
        str(record.get("round")),
        tables.percent(record.get("test_accuracy")),
        tables.percent(record.get("attack_success")),
        tables.percent(record.get("accuracy")),
        tables.decimals(loss),
        tables.decimals(record.get("f1")),
        ", ".join(rejected + refused) or tables.DASH,
        tables.decimals(min(reputation)) if reputation else tables.DASH,
        tables.decimals(record.get("drift")),
        str(record.get("status") or tables.DASH),
        tables.seconds(sum(v or 0.0 for v in spent.values())) if spent else tables.DASH,
    ]


def _cell_label(row: Row) -> str:
    label = f"{defence_label(row)}, {attack_label(str(row['attack'])).lower()}"
    share = malicious_words(row["malicious_fraction"], row.get("hospitals"))
    return label if row["attack"] == NO_ATTACK else f"{label}, {share}"


def _backend(row: Row) -> str:
    backend = str(row.get("backend") or tables.DASH)
    return f"mpc, {row['nodes']} nodes" if backend == "mpc" and row.get("nodes") else backend
