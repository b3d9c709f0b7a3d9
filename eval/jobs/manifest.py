"""Hashes of all files of a run, and their anchor on a chain of the job's own.

The manifest covers every file that holds a setting, a measurement or a model. The report and its
figures are drawn from these and can be drawn again, so they are not in it.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import ledger
from eval.jobs.run_lock import LOCK
from secure_fl.files import read_json, read_lines, sha256, write_json

MANIFEST, JOB_CHAIN = "manifest.json", "chain.jsonl"
_DERIVED = {MANIFEST, JOB_CHAIN, LOCK, "report.html", "explorer.html"}


def listed_files(run: Path) -> Iterator[str]:
    """Relative paths of the files that a manifest covers, sorted."""
    for path in sorted(run.rglob("*")):
        relative = path.relative_to(run)
        if path.is_file() and relative.parts[0] != "figures" and str(relative) not in _DERIVED:
            yield relative.as_posix()


def entry(path: Path) -> dict[str, Any]:
    """Hash of a file; of a file of JSON lines also the hash of each line, to name the place."""
    content = path.read_bytes()
    found: dict[str, Any] = {"sha256": sha256(content)}
    if path.suffix == ".jsonl":
        found["lines"] = [sha256(line) for line in content.splitlines(keepends=True)]
    return found


def write_manifest(run: Path) -> None:
    """Write the manifest, then anchor its hash on the job's chain.

    The chain holds one entry: it starts from the hash of the settings, and every node signs the
    manifest's hash and the summary's.
    """
    files = {name: entry(run / name) for name in listed_files(run)}
    write_json(run / MANIFEST, {"files": files})
    config, manifest, summary = (
        hashlib.sha256((run / name).read_bytes()).digest()
        for name in ("config.yaml", MANIFEST, "summary.json")
    )
    chain = ledger.open_chain(1, salt=config)
    chain.open_round(1, config)
    chain.commit(1, {})
    chain.record_aggregate(1, manifest, [None], summary)
    chain.export(run / JOB_CHAIN)


def job_head(run: Path) -> str:
    """Hash of the last block of the job's chain: 0x and 64 hexadecimal digits."""
    seal = read_lines(run / JOB_CHAIN)[-1]
    return str(seal["hash"])


def read_manifest(run: Path) -> dict[str, dict[str, Any]]:
    """The manifest's entries by relative path."""
    files: dict[str, dict[str, Any]] = read_json(run / MANIFEST)["files"]
    return files
