"""Small runs that a test changes, so that everything but one thing fits again."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from eval.audit.run import RunAudit, audit_run
from eval.jobs.manifest import write_manifest
from secure_fl.files import canonical_json, write_json
from secure_fl.simulation.folder import records_digest

PLAIN, CHAINED = "fedavg--backdoor", "paper--backdoor"
ROUNDS = "rounds=3"


def quick(run: Path) -> RunAudit:
    return audit_run(run, measures=False)


def places(report: RunAudit) -> list[str]:
    return [finding.place for finding in report.findings]


def rows(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def write_rows(path: Path, content: list[dict[str, Any]]) -> None:
    path.write_text("".join(canonical_json(row) + "\n" for row in content))


def edit(path: Path, **change: Any) -> None:
    write_json(path, json.loads(path.read_text()) | change)


def forge(run: Path) -> None:
    """Make summary, manifest and job chain fit the cells again."""
    summary = json.loads((run / "summary.json").read_text())
    here = {p.parent.name: json.loads(p.read_text()) for p in run.glob("cells/*/cell.json")}
    names = [row["cell"] for row in summary["rows"]]
    order = [name for name in names if name in here]
    kept = [here[name] for name in [*order, *(n for n in sorted(here) if n not in names)]]
    edit(run / "summary.json", rows=kept, seconds=sum(row["seconds"] for row in kept))
    write_manifest(run)


def cut(run: Path, name: str, kept: int) -> None:
    """Let a cell without a ledger end after `kept` rounds, all its hashes made to fit."""
    folder = run / "cells" / name
    played = rows(folder / "rounds.jsonl")[: kept + 1]
    opened = [row for row in rows(folder / "openings.jsonl") if row["round"] <= kept]
    write_rows(folder / "rounds.jsonl", played)
    write_rows(folder / "openings.jsonl", opened)
    for path in (folder / "models").glob("round-*.npy"):
        if int(path.stem.rpartition("-")[2]) > kept:
            path.unlink()
    last = played[-1]
    shutil.copy(folder / "models" / f"round-{kept:03d}.npy", folder / "models" / "final.npy")
    shown = {key: last[key] for key in ("accuracy", "loss", "f1", "model_sha256")}
    edit(
        folder / "closing.json",
        **shown,
        candidate_sha256=last["model_sha256"],
        entry=kept + 1,
        records_sha256=records_digest(played, opened),
    )
    edit(folder / "cell.json", rounds_run=kept, final_model_sha256=last["model_sha256"])
