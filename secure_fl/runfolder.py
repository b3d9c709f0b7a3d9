"""Files of a run: created once, each cell complete or absent, every byte reproducible to check.

Layout, below the folder of the run:
    config.yaml environment.json summary.json manifest.json chain.jsonl report.html figures/
    cells/<cell>/rounds.jsonl openings.jsonl closing.json cell.json [chain.jsonl]
                 models/round-000.npy ... models/final.npy

A cell is written below a temporary name and renamed when it is complete. Models are NumPy files
of float32 without pickled objects; their SHA-256 is the model hash on the chain.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from secure_fl.errors import InputError

PARTIAL = ".partial"
# Keys of a row that differ between two runs of the same settings.
TIMINGS = ("seconds", "ledger_ms")

Row = dict[str, Any]


def canonical_json(value: Any) -> str:
    """JSON on one line with sorted keys; equal values give equal bytes. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one."""
    partial = path.with_name(path.name + PARTIAL)
    try:
        partial.write_bytes(content)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def append_line(path: Path, row: Row) -> None:
    """Append one row of canonical JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(canonical_json(row) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or malformed one raises `InputError` naming it."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def read_lines(path: Path) -> list[Row]:
    """Read JSON lines; a malformed one raises `InputError` naming file and line."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise InputError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path} line {number} must hold an object; got {line[:60]!r}")
        rows.append(row)
    return rows


def sha256(content: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()


def model_bytes(model: torch.Tensor) -> bytes:
    """The NumPy file of a parameter vector (d,), as float32 little-endian."""
    buffer = io.BytesIO()
    array = model.detach().cpu().numpy().astype("<f4")
    np.lib.format.write_array(buffer, array, version=(1, 0), allow_pickle=False)
    return buffer.getvalue()


def read_model(path: Path) -> torch.Tensor:
    """Read a parameter vector written by `model_bytes`: float32 (d,)."""
    try:
        array = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if array.dtype != np.float32 or array.ndim != 1:
        raise InputError(f"{path} must hold float32 (d,); got {array.dtype} {array.shape}")
    return torch.from_numpy(array)


def records_content(rows: Iterable[Row], openings: Iterable[Row]) -> bytes:
    """All rounds and openings of a cell as canonical JSON; nodes read it before they sign.

    Timings are left out, so that two identical runs have identical chains.
    """
    timeless = [{k: v for k, v in row.items() if k not in TIMINGS} for row in rows]
    return canonical_json([timeless, list(openings)]).encode()


def records_digest(rows: Iterable[Row], openings: Iterable[Row]) -> str:
    """SHA-256 over all rounds and openings of a cell: the last entry of its chain."""
    return sha256(records_content(rows, openings))


def model_path(cell: Path, round_number: int) -> Path:
    """Where a cell keeps the model after a round; round 0 is the initial model."""
    return cell / "models" / f"round-{round_number:03d}.npy"


def refuse_existing(folder: Path) -> None:
    """Raise `InputError` if a run's folder exists already."""
    if folder.exists():
        raise InputError(
            f"run folder {folder} exists already: choose another with --out, "
            f"or complete it with --resume {folder}"
        )


def create_run(folder: Path) -> None:
    """Create the folder of a new run.

    Raises:
        InputError: it exists, and is not touched, or it cannot be made there.
    """
    refuse_existing(folder)
    try:
        (folder / "cells").mkdir(parents=True)
    except OSError as error:
        raise InputError(f"cannot make run folder {folder}: {error.strerror}") from error


@contextmanager
def writing_cell(run: Path, name: str) -> Iterator[Path]:
    """Yield a temporary folder that becomes `cells/<name>` on success and vanishes on failure."""
    final = run / "cells" / name
    if final.exists():
        raise InputError(f"cell {final} exists already")
    partial = final.with_name(f".{name}{PARTIAL}")
    if partial.exists():  # left by a killed process
        shutil.rmtree(partial)
    (partial / "models").mkdir(parents=True)
    try:
        yield partial
        os.replace(partial, final)
    finally:
        if partial.exists():
            shutil.rmtree(partial)
