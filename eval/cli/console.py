"""The terminal: consoles of any encoding, readers that go away, and paths that can be pasted."""

from __future__ import annotations

import codecs
import contextlib
import io
import os
import shlex
import sys
from pathlib import Path
from typing import Any, TextIO

from ledger.files import printable

# What stands for characters that a console's encoding lacks.
_NEAR = {"−": "-", "–": "-", "—": "-", "×": "x", "·": "*", "…": ".", "α": "a"}
_ERRORS = "secure-fl-near"


def _near(error: UnicodeError) -> tuple[str, int]:
    """Error handler of a codec: the nearest character, one for one: tables keep their form."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    return "".join(_NEAR.get(c, "?") for c in error.object[error.start : error.end]), error.end


codecs.register_error(_ERRORS, _near)


def print_anywhere() -> None:
    """Let nothing that is printed fail for the console's encoding."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors=_ERRORS)


class Outliving:
    """Standard output of a job that goes on when its reader goes away, and says so once.

    Args:
        stream: standard output.
        note: what to say then, on standard error.
    """

    def __init__(self, stream: TextIO, note: str) -> None:
        self._stream = stream
        self._note = note

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        """Write, or forget."""
        try:
            return self._stream.write(text)
        except BrokenPipeError:
            self._let_go()
            return len(text)

    def flush(self) -> None:
        """Flush, or forget."""
        try:
            self._stream.flush()
        except BrokenPipeError:
            self._let_go()

    def _let_go(self) -> None:
        """Lead the descriptor nowhere: what waits in buffers goes there too."""
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self._stream.fileno())
        os.close(nowhere)
        with contextlib.suppress(BrokenPipeError):
            print(self._note, file=sys.stderr, flush=True)


def quoted(path: Path) -> str:
    """A path as it is pasted into a shell's command."""
    text = str(path)
    return shlex.quote(f"./{text}" if text.startswith("-") else text)


def shown(path: Path) -> str:
    """A path as it is read."""
    return printable(str(path))
