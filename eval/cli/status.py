"""Exit statuses of the command line, and an error on one line."""

from __future__ import annotations

import re

OK, FAILED, BAD_INPUT, INTERRUPTED = 0, 1, 2, 130


def status_of(error: Exception) -> int | None:
    """Exit status of an error raised on purpose; None for one that is a defect."""
    from attacks.registry import BrokenContract
    from ledger.errors import LedgerError
    from secure_fl.errors import ConfigError, InputError, SecureFLError

    if isinstance(error, ConfigError | InputError | BrokenContract):
        return BAD_INPUT
    expected = SecureFLError | LedgerError | OSError | MemoryError
    return FAILED if isinstance(error, expected) or _lacks_memory(error) else None


def _lacks_memory(error: Exception) -> bool:
    """Whether this process could not allocate what was asked; torch says so in its words alone."""
    return isinstance(error, MemoryError) or (
        isinstance(error, RuntimeError) and "can't allocate memory" in str(error)
    )


def words(error: Exception) -> str:
    """An error on one line."""
    if _lacks_memory(error):
        asked = re.search(r"tried to allocate (\d+) bytes", str(error))
        size = f" for {int(asked[1]) / 2**30:,.1f} GiB at once" if asked else ""
        return f"there is not enough memory{size}: choose smaller sizes"
    if isinstance(error, OSError) and error.strerror is not None:
        place = error.filename2 or error.filename
        return f"{place}: {error.strerror}" if place is not None else error.strerror
    return " ".join(str(error).split("\n"))
