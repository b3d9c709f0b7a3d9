"""One writer at a time in a run's folder.

The lock is the operating system's, on a file in the folder: it goes with the process that holds
it, however that ends, and processes that it starts do not inherit it.
"""

from __future__ import annotations

import fcntl
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from secure_fl.errors import InputError

LOCK = ".lock"
# What the file holds: the number of the process that writes into the folder, or nothing.
HOLDER = re.compile(rb"[0-9]{0,20}")


@contextmanager
def only_writer(folder: Path) -> Iterator[None]:
    """Hold the lock of a run's folder for as long as the block.

    Raises:
        InputError: another process holds it, the folder's file system has no locks, or what is in
            the lock's place is no lock.
    """
    path = folder / LOCK
    handle = _locked(path)
    try:
        os.ftruncate(handle, 0)
        os.write(handle, str(os.getpid()).encode())
        yield
    finally:
        # Somebody may have moved or removed the folder meanwhile, and begun another in its place.
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(handle), path.lstat()):
                path.unlink()
        os.close(handle)


def refuse_second_writer(folder: Path) -> None:
    """Raise `InputError` if another process writes into a run's folder now."""
    with only_writer(folder):
        pass


def _locked(path: Path) -> int:
    """Open and lock the file; a file that its last holder removed meanwhile is made anew."""
    while True:
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
            handle = os.open(path, flags, 0o644)
        except OSError as error:
            raise InputError(f"cannot lock {path.parent}: {error.strerror}") from error
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            here = path.lstat()
            held = os.fstat(handle)
            if os.path.samestat(held, here):
                _refuse_other(path, handle, held)
                return handle
        except FileNotFoundError:
            pass
        except BlockingIOError as error:
            holder = os.read(handle, 20).decode("ascii", "replace")
            os.close(handle)
            who = f"process {holder}" if holder.isdigit() else "another process"
            raise InputError(
                f"{who} is writing into {path.parent}: wait until it has ended"
            ) from error
        except OSError as error:
            os.close(handle)
            raise InputError(f"cannot lock {path.parent}: {error.strerror}") from error
        except InputError:
            os.close(handle)
            raise
        os.close(handle)


def _refuse_other(path: Path, handle: int, status: os.stat_result) -> None:
    """Refuse a file that no run made: its content would be lost.

    Raises:
        InputError: it is no plain file, has another name elsewhere, or holds what a lock does not.
    """
    plain = stat.S_ISREG(status.st_mode) and status.st_nlink == 1
    if not (plain and HOLDER.fullmatch(os.pread(handle, 21, 0))):
        raise InputError(
            f"cannot lock {path.parent}: {path.name} there was not made by a run: remove it"
        )
