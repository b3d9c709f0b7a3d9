"""Starts parties of one program on demand: python -P boot.py secure_fl.nodes.launcher PROGRAM

Loading torch takes seconds, a fork milliseconds: the launcher imports a party's program once, and
forks a process for every party that is asked for. It has one thread then, and nothing secret: what
is meant for a party comes on a pipe that the launcher hands on unread, code of somebody's own is
imported in the party alone, and what a party hides is drawn from the system after the fork.

Its standard input is a socket to whoever started it (`secure_fl.backends.launchers`). Requests on
it are lines of JSON:

- {"cwd": FOLDER}, with four descriptors: the party's standard input, output and error, and a socket
  on which its process id is said at once, and in the end how it ended, one a line
- {"kill": PID}, of a party of this launcher that runs

When that socket closes, because the starter has ended or let go, it ends after its parties; they
end by themselves when they lose the same starter, or are killed.
"""

from __future__ import annotations

import array
import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import numpy.random

# How long parties may take to end once their starter is gone.
GRACE_SECONDS = 10.0
# Descriptors of a request: standard input, output, error, and where the status is said.
DESCRIPTORS = 4
_MOST = 1 << 16


class Launcher:
    """Forks parties, and says how they ended.

    Args:
        control: requests come on it.
    """

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._text = b""
        self._descriptors: list[int] = []
        self._parties: dict[int, socket.socket] = {}
        # A byte for each child that ends, so that waiting for requests is waiting for these too.
        self._ended, self._noted = socket.socketpair()
        for end in (self._ended, self._noted):
            end.setblocking(False)

    def serve(self) -> bool:
        """Serve until the starter is gone and all parties have ended.

        Returns:
            True in the launcher, at its end; False in a party, at its start.
        """
        signal.set_wakeup_fd(self._noted.fileno())
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while True:
            ready, _, _ = select.select([self._control, self._ended], [], [])
            if self._ended in ready:
                self._ended.recv(_MOST)
                self._reap()
            if self._control in ready:
                lines = self._requests()
                if lines is None:
                    self._wind_up()
                    return True
                for line in lines:
                    if self._obey(json.loads(line)):
                        return False

    def _requests(self) -> list[bytes] | None:
        """Whole requests that have come; None when the starter is gone."""
        size = socket.CMSG_SPACE(DESCRIPTORS * array.array("i").itemsize)
        try:
            text, described, _, _ = self._control.recvmsg(_MOST, size)
        except ConnectionResetError:
            return None
        for _, _, data in described:
            self._descriptors += array.array("i", data)
        if not text:
            return None
        *lines, self._text = (self._text + text).split(b"\n")
        return lines

    def _obey(self, request: dict[str, Any]) -> bool:
        """Do what is asked; true in a party that was forked for it."""
        if "kill" in request:
            if request["kill"] in self._parties:  # which is ours until it is reaped
                os.kill(request["kill"], signal.SIGKILL)
            return False
        given, self._descriptors = self._descriptors[:DESCRIPTORS], self._descriptors[DESCRIPTORS:]
        require_one_thread()
        pid = os.fork()
        if pid == 0:
            self._become_party(given, request["cwd"])
            return True
        *streams, said = given
        for descriptor in streams:
            os.close(descriptor)
        self._parties[pid] = socket.socket(fileno=said)
        self._say(pid, pid)
        return False

    def _become_party(self, given: list[int], folder: str) -> None:
        """Let go of what is the launcher's; take streams, a session and chance of its own."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        self._control.detach()  # descriptor 0, which the party's own replaces
        for other in (self._ended, self._noted, *self._parties.values()):
            other.close()
        *streams, said = given
        os.close(said)
        for number, descriptor in enumerate(streams):
            os.dup2(descriptor, number)
            os.close(descriptor)
        os.chdir(folder)
        numpy.random.seed()  # noqa: NPY002 - which all would share; Python's own renews itself

    def _say(self, pid: int, number: int) -> None:
        try:
            self._parties[pid].sendall(b"%d\n" % number)
        except (BrokenPipeError, ConnectionResetError):  # nobody wants to know any more
            return

    def _reap(self) -> None:
        for pid in list(self._parties):
            ended, status = os.waitpid(pid, os.WNOHANG)
            if ended:
                self._say(pid, os.waitstatus_to_exitcode(status))
                self._parties.pop(pid).close()

    def _wind_up(self) -> None:
        """Wait until the parties have ended; kill those that do not."""
        deadline = time.monotonic() + GRACE_SECONDS
        while self._parties and time.monotonic() < deadline:
            select.select([self._ended], [], [], deadline - time.monotonic())
            self._reap()
        for pid in self._parties:
            os.kill(pid, signal.SIGKILL)


def require_one_thread() -> None:
    """Refuse to fork while another thread may hold a lock.

    Raises:
        RuntimeError: there is another thread.
    """
    tasks = Path("/proc/self/task")  # threads that Python knows nothing of, where the system tells
    threads = len(os.listdir(tasks)) if tasks.exists() else threading.active_count()
    if threads != 1:
        raise RuntimeError(f"a launcher must have one thread when it forks; it has {threads}")


def main() -> int:
    """Import the program named on the command line, then fork parties that run its `main`."""
    program = importlib.import_module(sys.argv[1])
    gc.collect()
    gc.freeze()  # so that no collection in a party touches, and thereby copies, all this memory
    if Launcher(socket.socket(fileno=0)).serve():
        return 0
    status = program.main()
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    # Files of parties have no buffers. Taking the interpreter apart would copy its memory first.
    os._exit(status)


if __name__ == "__main__":
    sys.exit(main())
