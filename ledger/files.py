"""Files that may come from anybody: plain ones alone are read, of bounded size and nesting, and
what is written goes into a new file that takes the old one's place."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NoReturn

# Largest file that is read; chains and records of long runs are some hundred MiB.
MAX_BYTES = 2**30
# Deepest nesting of JSON; what this program writes has fewer than ten levels.
MAX_DEPTH = 64
# Longest whole number in JSON; 256 bits have 78 digits.
MAX_DIGITS = 80

_STRING = re.compile(r'"(?:[^"\\]++|\\.)*+"?', re.DOTALL)
_NO_BRACKET = re.compile(r"[^\[\]{}]++")


def read_plain(path: Path, limit: int = MAX_BYTES, follow: bool = False) -> bytes:
    """Read a plain file.

    Args:
        path: of the file.
        limit: most bytes.
        follow: follow a symbolic link: only where a person named the file.

    Raises:
        OSError: it cannot be opened; a symbolic link cannot, unless it is followed.
        ValueError: a pipe, socket or device, or a file above the limit; the message begins "is".
    """
    # Without O_NONBLOCK opening a pipe that nobody writes to waits for ever.
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    handle = os.open(path, flags if follow else flags | os.O_NOFOLLOW)
    try:
        mode = os.fstat(handle).st_mode
        if stat.S_ISDIR(mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(path))
        if not stat.S_ISREG(mode):
            raise ValueError("is not a plain file")
        with open(handle, "rb", closefd=False) as file:
            content = file.read(limit + 1)
    finally:
        os.close(handle)
    if len(content) > limit:
        raise ValueError(f"is longer than {limit:,} bytes")
    return content


def write_whole(
    path: Path, parts: Iterable[bytes], suffix: str = ".partial", sync: bool = False
) -> None:
    """Write a new file beside the target, then rename: a reader sees the old file or the new one.

    Neither a link in the place of the new file nor one in that of the target is followed.

    Args:
        path: the target.
        parts: its content.
        suffix: of the new file's name until it is whole.
        sync: wait until it is on the disk.
    """
    partial = path.with_name(path.name + suffix)
    partial.unlink(missing_ok=True)  # left by a killed process, or put there by somebody
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(partial, flags, 0o666), "wb") as file:
            for part in parts:
                file.write(part)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def parse_json(text: str, depth: int = MAX_DEPTH) -> Any:
    """Parse JSON, its nesting checked first: the parser recurses, and a deep stack ends Python.

    Raises:
        ValueError: not JSON, with NaN, Infinity, or a number that stands for it or has more than
            `MAX_DIGITS` digits in it, or nested deeper.
    """
    # The number of opening brackets bounds the depth; nearly all texts end the check here.
    if text.count("[") + text.count("{") > depth and nesting(text) > depth:
        raise ValueError(f"nested deeper than {depth} levels")
    return json.loads(
        text, parse_constant=_refuse_constant, parse_float=_finite, parse_int=_short_integer
    )


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text[:40]} is too large a number")
    return value


def _short_integer(text: str) -> int:
    if len(text) > MAX_DIGITS:
        raise ValueError(f"{text[:40]}... is too long a number")
    return int(text)


def nesting(text: str) -> int:
    """Deepest nesting of brackets outside strings."""
    deepest = level = 0
    for bracket in _NO_BRACKET.sub("", _STRING.sub("", text)):
        level += 1 if bracket in "[{" else -1
        deepest = max(deepest, level)
    return deepest


def printable(text: str) -> str:
    """Text fit for a terminal: what is no printable character is spelt as Python spells it."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )


def printable_lines(text: str) -> str:
    """`printable`, line by line."""
    return "\n".join(map(printable, text.split("\n")))
