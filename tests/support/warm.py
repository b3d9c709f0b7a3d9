"""Python programs that do not load torch and the rest anew: forks of a process that has.

For tests of what a program does. What a start by itself does, `tests/eval/cli/test_here.py`,
`tests/eval/cli/test_version.py` and `tests/test_wheel.py` start for.
"""

from __future__ import annotations

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO

from secure_fl.backends.launchers import launcher
from secure_fl.backends.processes import environment

_PROGRAM = "tests.support.warm_program"


class Warm:
    """A program under way, as `subprocess.Popen` shows it with its output in pipes of text."""

    def __init__(
        self,
        arguments: Sequence[str],
        cwd: Path | str | None = None,
        variables: Mapping[str, str] = os.environ,
    ) -> None:
        self._streams: list[IO[str]] = [
            tempfile.NamedTemporaryFile("r+", encoding="utf-8")  # noqa: SIM115 - gone with this
            for _ in range(2)
        ]
        told = {
            "arguments": list(arguments),
            "folder": str(cwd or Path.cwd()),
            "environment": dict(variables),
            "streams": [stream.name for stream in self._streams],
        }
        text = (json.dumps(told) + "\n").encode()
        self._party = launcher(_PROGRAM, environment()).fork(text, 60)
        self.pid = self._party.pid

    def poll(self) -> int | None:
        return self._party.poll()

    def communicate(self, timeout: float | None = None) -> tuple[str, str]:
        """Wait for its end; what it wrote to standard output and error."""
        self._party.wait(timeout)
        texts = []
        for stream in self._streams:
            stream.seek(0)
            texts.append(stream.read())
        return texts[0], texts[1]

    @property
    def returncode(self) -> int | None:
        return self._party.returncode

    def kill(self) -> None:
        self._party.kill()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)


def run(
    arguments: Sequence[str], cwd: Path | str | None = None, timeout: float = 120
) -> subprocess.CompletedProcess[str]:
    """What `subprocess.run([sys.executable, *arguments], ...)` returns, the output caught."""
    program = Warm(arguments, cwd)
    try:
        out, err = program.communicate(timeout)
    finally:
        program.kill()
    return subprocess.CompletedProcess(arguments, program.returncode or 0, out, err)
