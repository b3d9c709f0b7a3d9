"""Read files that may come from anybody: plain files alone, of bounded size and nesting."""

from __future__ import annotations

import json
import os
import re
import stat
from pathlib import Path
from typing import Any

# Largest file that is read; chains and records of long runs are some hundred MiB.
MAX_BYTES = 2**30
# Deepest nesting of JSON; what this program writes has fewer than ten levels.
MAX_DEPTH = 64

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]++")


def read_plain(path: Path, limit: int = MAX_BYTES) -> bytes:
    """Read a plain file, not through a symbolic link.

    Raises:
        OSError: it cannot be opened; a symbolic link cannot.
        ValueError: a pipe, socket or device, or a file above the limit; the message begins "is".
    """
    # Without O_NONBLOCK opening a pipe that nobody writes to waits for ever.
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(handle, "rb") as file:
        status = os.fstat(handle)
        if stat.S_ISDIR(status.st_mode):
            raise IsADirectoryError(21, "Is a directory", str(path))
        if not stat.S_ISREG(status.st_mode):
            raise ValueError("is not a plain file")
        content = file.read(limit + 1)
    if len(content) > limit:
        raise ValueError(f"is longer than {limit:,} bytes")
    return content


def parse_json(text: str, depth: int = MAX_DEPTH) -> Any:
    """Parse JSON, its nesting checked first: the parser recurses, and a deep stack ends Python.

    Raises:
        ValueError: not JSON, or nested deeper.
    """
    # The number of opening brackets bounds the depth; nearly all texts end the check here.
    if text.count("[") + text.count("{") > depth and nesting(text) > depth:
        raise ValueError(f"is nested deeper than {depth} levels")
    return json.loads(text)


def nesting(text: str) -> int:
    """Deepest nesting of brackets outside strings."""
    deepest = level = 0
    for bracket in _NO_BRACKET.sub("", _STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest
