"""Parties as forks of a launcher: one for each program, started when it is first wanted.

A launcher (`secure_fl.nodes.launcher`) has loaded what a party's program needs, so that a party
starts in milliseconds. It ends with this process, or when the environment that parties get has
changed and the last of its own has ended.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import weakref
from collections.abc import Iterator
from pathlib import Path

from secure_fl.errors import NodeFailure

_BOOT = Path(__file__).parents[1] / "nodes" / "boot.py"
_MODULE = "secure_fl.nodes.launcher"


class Party:
    """A process that a launcher forked; one thread at a time may use it.

    Args:
        launcher: whose it is.
        said: on which the launcher says how it ended.
        pid: its process id.

    Attributes:
        returncode: None while it runs, as far as was heard; minus the number of the signal that
            killed it; or its exit status, `UNHEARD` where the launcher ended first.
    """

    UNHEARD = 255

    def __init__(self, launcher: _Launcher, said: socket.socket, pid: int) -> None:
        self._launcher = launcher
        self._said = said
        self.pid = pid
        self.returncode: int | None = None

    def poll(self) -> int | None:
        """How it ended; None while it runs."""
        with contextlib.suppress(TimeoutError):
            self.wait(0)
        return self.returncode

    def wait(self, seconds: float | None = None) -> int:
        """Wait until it has ended; return how.

        Raises:
            TimeoutError: it still runs.
        """
        if self.returncode is None:
            self._said.settimeout(seconds)
            try:
                self.returncode = int(_line(self._said) or self.UNHEARD)
            except (BlockingIOError, TimeoutError) as error:
                raise TimeoutError(f"process {self.pid} still runs") from error
            self._said.close()
        return self.returncode

    def kill(self) -> None:
        """End it at once, if it runs."""
        if self.poll() is None:
            self._launcher.kill(self.pid)
        elif self.returncode == self.UNHEARD:  # it may run all the same
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, signal.SIGKILL)


class _Launcher:
    """A launcher's process. It ends when this object is gone, after the last of its parties."""

    def __init__(self, program: str, environment: dict[str, str]) -> None:
        self.environment = environment
        self.control, theirs = socket.socketpair()
        with theirs, _standard(1) as output, _standard(2) as errors:
            self._handle = subprocess.Popen(
                [sys.executable, "-P", str(_BOOT), _MODULE, program],
                stdin=theirs.fileno(),
                stdout=output,
                stderr=errors,
                start_new_session=True,
                env=environment,
            )
        self.pid = self._handle.pid
        self._lock = threading.Lock()
        _all.add(self)

    def runs(self) -> bool:
        """Whether its process does."""
        return self._handle.poll() is None

    def fork(self, text: bytes, seconds: float) -> Party:
        """Start a party in the current directory, with our standard output and error.

        Args:
            text: for its standard input.
            seconds: that the launcher may take, which loads the program first.

        Raises:
            NodeFailure: the launcher ended, or takes longer.
        """
        request = (json.dumps({"cwd": os.getcwd()}) + "\n").encode()
        said, theirs = socket.socketpair()
        source, sink = os.pipe()
        with open(sink, "wb") as file, contextlib.ExitStack() as stack:
            stack.callback(os.close, source)
            try:
                with theirs, _standard(1) as output, _standard(2) as errors, self._lock:
                    given = [source, output, errors, theirs.fileno()]
                    socket.send_fds(self.control, [request], given)
                said.settimeout(seconds)
                pid = _line(said)
            except (BrokenPipeError, ConnectionResetError, TimeoutError) as error:
                said.close()
                raise NodeFailure(f"nothing can be started: {error}") from error
            if not pid:
                said.close()
                raise NodeFailure("nothing can be started: the launcher ended")
            file.write(text)
        return Party(self, said, int(pid))

    def kill(self, pid: int) -> None:
        """Kill a party that runs."""
        with contextlib.suppress(BrokenPipeError), self._lock:  # `Party.poll` will find out
            self.control.sendall((json.dumps({"kill": pid}) + "\n").encode())


def _line(channel: socket.socket) -> bytes:
    """A line, byte by byte: the next is somebody's later; nothing where the other end is closed."""
    text = b""
    while not text.endswith(b"\n"):
        byte = channel.recv(1)
        if not byte:
            return b""
        text += byte
    return text


@contextlib.contextmanager
def _standard(descriptor: int) -> Iterator[int]:
    """A copy of one of our standard streams; of the null device where it is closed."""
    try:
        copy = os.dup(descriptor)
    except OSError:
        copy = os.open(os.devnull, os.O_WRONLY)
    try:
        yield copy
    finally:
        os.close(copy)


# By program, and all that run.
_launchers: dict[str, _Launcher] = {}
_all: weakref.WeakSet[_Launcher] = weakref.WeakSet()
_lock = threading.Lock()


def launcher(program: str, environment: dict[str, str]) -> _Launcher:
    """The launcher of a program's parties with an environment, started if there is none.

    Args:
        program: a module with a `main` that returns an exit status.
        environment: of the parties.
    """
    with _lock:
        found = _launchers.get(program)
        if found is None or found.environment != environment or not found.runs():
            found = _launchers[program] = _Launcher(program, environment)
        return found


def _forget() -> None:
    """In a fork of this process: the launchers are its parent's, and must see that one end."""
    global _lock
    _lock = threading.Lock()
    for found in _all:
        found.control.close()
    _launchers.clear()


os.register_at_fork(after_in_child=_forget)
