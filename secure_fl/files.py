"""JSON and whole files: read as data, written at once, hashed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from ledger.files import parse_json, read_plain, write_whole
from secure_fl.errors import InputError

PARTIAL = ".partial"


Row = dict[str, Any]


def canonical_json(value: Any) -> str:
    """JSON on one line with sorted keys; equal values give equal bytes. NaN is refused."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, value: Any) -> None:
    """Write indented JSON, atomically."""
    write_atomic(path, (json.dumps(value, indent=2, allow_nan=False) + "\n").encode())


def write_atomic(path: Path, content: bytes) -> None:
    """Write beside the target, then rename: a reader sees the old file or the new one."""
    write_whole(path, [content], PARTIAL)


def append_line(path: Path, row: Row) -> None:
    """Append one row of canonical JSON."""
    with path.open("a", encoding="utf-8") as file:
        file.write(canonical_json(row) + "\n")


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or malformed one raises `InputError` naming it."""
    try:
        return parse_json(read_plain(path).decode("utf-8"))
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error


def read_lines(path: Path) -> list[Row]:
    """Read JSON lines; a malformed one raises `InputError` naming file and line."""
    try:
        lines = read_plain(path).decode("utf-8").split("\n")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"cannot read {path}: {error}") from error
    if lines[-1] == "":  # the last line ends
        lines.pop()
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = parse_json(line)
        except ValueError as error:
            raise InputError(f"{path} line {number} is not JSON: {error}") from error
        if not isinstance(row, dict):
            raise InputError(f"{path} line {number} must hold an object; got {line[:60]!r}")
        rows.append(row)
    return rows


def sha256(content: bytes) -> str:
    """SHA-256 as 64 hexadecimal digits."""
    return hashlib.sha256(content).hexdigest()
