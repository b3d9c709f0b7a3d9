"""What a node must not forget, whoever asks and however often it is started: its memory on disk.

Each share that it took, by its digest, so that the same share never goes into two sums; and each
round of a contract for which it took shares, so that it signs for that round once.

The file is only ever added to. A line is on the disk before anything is done because of it.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Collection
from pathlib import Path

from secure_fl.errors import InputError, NodeFailure

_ROUND, _SHARE = "round", "share"


class Memory:
    """One node's memory; a second process that opens the same one is refused.

    Args:
        path: the file, made if it is not there, in a folder that is.

    Raises:
        NodeFailure: another process has it open, or it holds something else.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.fdopen(os.open(path, flags, 0o600), "a+b")
        try:
            fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise NodeFailure(f"another process uses the node's memory {path}") from error
        self._file.seek(0)
        whole, _, torn = self._file.read().rpartition(b"\n")
        self._lines = {self._read(line) for line in whole.splitlines()}
        if torn:  # cut off while it was written: nothing was done because of it
            self._file.truncate(len(whole) + bool(whole))

    def _read(self, line: bytes) -> str:
        text = line.decode("ascii", errors="replace")
        if text.partition(" ")[0] not in (_ROUND, _SHARE):
            raise NodeFailure(f"{self._path} is not a node's memory: it has the line {text!a}")
        return text

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def claim(self, chain_id: int, contract: bytes, number: int) -> None:
        """Take a round of a contract, once for ever.

        Raises:
            InputError: it was taken before, by this session or another.
        """
        line = f"{_ROUND} {chain_id} {contract.hex()} {number}"
        if line in self._lines:
            raise InputError(
                f"round {number} of the contract 0x{contract.hex()} on chain {chain_id} was taken "
                "before: a node signs for a round once"
            )
        self._add([line])

    def take(self, digests: Collection[bytes]) -> set[bytes]:
        """Take shares; returns the digests of those that were not taken before."""
        fresh = {digest for digest in digests if _share(digest) not in self._lines}
        self._add([_share(digest) for digest in sorted(fresh)])
        return fresh

    def _add(self, lines: Collection[str]) -> None:
        if lines:
            self._file.write("".join(f"{line}\n" for line in lines).encode("ascii"))
            self._file.flush()
            os.fsync(self._file.fileno())
            self._lines.update(lines)


def _share(digest: bytes) -> str:
    return f"{_SHARE} {digest.hex()}"
