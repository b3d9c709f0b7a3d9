"""A made-up run for tests of tables, figures and the report. Its numbers mean nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import yaml

DEFENCES = (
    ("fedavg", "FedAvg", "FedAvg", "plain", 1.0),
    ("secure_aggregation", "+ secure aggregation", "+ Secure Aggregation", "mpc", 1.0),
    ("robust", "+ robust aggregation", "+ Robust Aggregation", "plain", 0.5),
    ("framework", "Full framework (paper)", "Proposed Framework", "mpc", 0.35),
    ("guarded", "Full framework (guarded)", None, "mpc", 0.03),
)
ATTACKS = (
    ("none", "none", 0.0, 0.0),
    ("label_flip", "label_flip", 0.41, 0.24),
    ("sign_flip", "untargeted", 0.38, 0.0),
    ("backdoor", "backdoor", 0.92, 0.11),
    ("model_replacement", "backdoor", 0.97, 0.11),
    ("byzantine_gradient", "untargeted", 0.28, 0.0),
    ("random_noise", "untargeted", 0.15, 0.0),
)
HOSPITALS = 20


def rows(
    fractions: tuple[float, ...] = (0.3,), attacks: tuple[str, ...] | None = None
) -> list[dict[str, Any]]:
    """Return summary rows of a grid, the clean cells once and attacked cells per fraction."""
    made = [_row("root_only", "Root only", None, "plain", "none", "none", 0.0, 0.0, 0.0)]
    for name, label, paper, backend, weakness in DEFENCES:
        for attack, objective, raw, base in ATTACKS:
            if attacks is not None and attack not in attacks:
                continue
            for fraction in (0.0,) if attack == "none" else fractions:
                excess = (raw - base) * weakness * fraction / 0.3
                made.append(
                    _row(name, label, paper, backend, attack, objective, fraction, excess, base)
                )
    return made


def _row(
    name: str,
    label: str,
    paper: str | None,
    backend: str,
    attack: str,
    objective: str,
    fraction: float,
    excess: float,
    base: float,
) -> dict[str, Any]:
    mpc, attacked = backend == "mpc", attack != "none"
    rounds = 0 if name == "root_only" else 8
    return {
        "defence": name,
        "label": label,
        "paper_method": paper,
        "backend": backend,
        "nodes": 2 if mpc else None,
        "hospitals": HOSPITALS,
        "attack": attack,
        "objective": objective,
        "malicious_fraction": fraction,
        "malicious": list(range(round(fraction * HOSPITALS))),
        "seed": 0,
        "accuracy": 0.828 - 0.3 * excess,
        "precision": 0.68,
        "recall": 0.61,
        "f1": 0.643,
        "auc": 0.87,
        "attack_success_raw": base + excess if attacked else None,
        "attack_success_base": base if attacked else None,
        "attack_success_excess": excess if attacked else None,
        "rounds_run": rounds,
        "seconds": 4.2,
        "mpc_seconds_online": 3.6 if mpc else 0.0,
        "mpc_seconds_offline": 6.4 if mpc else 0.0,
        "mpc_bytes_online": 48_000_000 if mpc else 0,
        "mpc_bytes_offline": 120_000_000 if mpc else 0,
        "mpc_rounds": 2400 if mpc else 0,
        "ledger_ms_per_round": 311.0 if name in ("framework", "guarded") else None,
        "final_model_sha256": "ab" * 32,
        "chain_head": "cd" * 32 if name in ("framework", "guarded") else None,
        "insecure": False,
    }


def rounds_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return round records that fit a summary row."""
    rng = np.random.default_rng(0)
    mpc = row["backend"] == "mpc"
    keeps_reputation = row["defence"] in ("framework", "guarded")
    reputation = np.ones(HOSPITALS)
    records = []
    for index in range(row["rounds_run"]):
        if keeps_reputation:
            struck = np.isin(np.arange(HOSPITALS), row["malicious"])
            reputation = np.where(
                struck, reputation * 0.5, reputation + 0.1 * (1 - reputation)
            ) * rng.uniform(0.97, 1.0, HOSPITALS)
        progress = 1 - 0.6 ** (index + 1)
        records.append(
            {
                "round": index + 1,
                "accuracy": 0.74 + (row["accuracy"] - 0.74) * progress,
                "loss": 0.6 - 0.15 * progress,
                "f1": 0.5,
                "test_accuracy": 0.72 + (row["accuracy"] - 0.72) * progress,
                "attack_success": row["attack_success_raw"],
                "accepted": [bool(r > 0.2) for r in reputation],
                "refused": {},
                "reputation": [float(r) for r in reputation],
                "status": "accepted",
                "seconds": {
                    "train": 0.35,
                    "mpc_online": 0.45 if mpc else 0.0,
                    "mpc_offline": 0.8 if mpc else 0.0,
                    "ledger": 0.31 if keeps_reputation else 0.0,
                    "validate": 0.04,
                },
                "mpc": {
                    "rounds": 300 if mpc else 0,
                    "bytes_online": 6_000_000 if mpc else 0,
                    "bytes_offline": 15_000_000 if mpc else 0,
                },
                "model_sha256": "ab" * 32,
                "drift": 0.4 / (index + 1),
            }
        )
    return records


def openings_of(row: dict[str, Any]) -> list[dict[str, Any]]:
    """Return what was opened in each round of a cell, or would have been under MPC."""
    opened = []
    for index in range(row["rounds_run"]):
        opened.append({"round": index + 1, "name": "valid", "shape": [HOSPITALS]})
        opened.append({"round": index + 1, "name": "update", "shape": [5922]})
    return opened


def write(folder: Path, table: list[dict[str, Any]] | None = None) -> Path:
    """Write a complete run folder and return it."""
    table = rows() if table is None else table
    folder.mkdir(parents=True)
    config = {
        "description": "the main job, made up",
        "seed": 0,
        "data": {"name": "support2", "hospitals": 20, "alpha": 0.3},
        "rounds": 8,
        "malicious": sorted({r["malicious_fraction"] for r in table} - {0.0}) or 0.3,
        "attacks": [{"name": a} for a in dict.fromkeys(r["attack"] for r in table) if a != "none"],
        "defences": [
            {"name": name, "label": label}
            for name, label in {r["defence"]: r["label"] for r in table}.items()
        ],
    }
    (folder / "config.yaml").write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = {
        "python": "3.11.9",
        "torch": "2.13.0",
        "crypten": "0.4.1",
        "command": "secure-fl run seed=0",
        "processors": 2,
        "parties": {"classes": ["survived", "died"], "hospitals": [[90, 10], [20, 30], [5, 0]]},
    }
    (folder / "environment.json").write_text(json.dumps(environment), encoding="utf-8")
    summary = {"rows": table, "created": "2026-01-02T03:04:05Z", "config_sha256": "ef" * 32}
    (folder / "summary.json").write_text(json.dumps(summary), encoding="utf-8")
    for row in table:
        if row["defence"] == "root_only":
            continue
        name = f"{row['defence']}--{row['attack']}--{row['malicious_fraction']:g}"
        cell = folder / "cells" / name
        cell.mkdir(parents=True)
        (cell / "cell.json").write_text(json.dumps(row), encoding="utf-8")
        _write_lines(cell / "rounds.jsonl", rounds_of(row))
        _write_lines(cell / "openings.jsonl", openings_of(row))
    return folder


def _write_lines(path: Path, records: list[dict[str, Any]]) -> None:
    path.write_text("".join(json.dumps(r) + "\n" for r in records), encoding="utf-8")
