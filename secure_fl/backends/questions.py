"""Questions to the nodes and their answers, never out of step.

Every question has a number, which its answers carry. One is asked and answered at a time; threads
take turns. A question that is cut off between its first byte and its last answer, by Ctrl-C say,
stops the processes: a frame may be half sent, and the next answer read could be its own.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from secure_fl.backends.processes import Process, failure, kill, stop_own
from secure_fl.errors import ConfigError, InputError, NodeFailure, SecureFLError, require
from secure_fl.fields import Rule, hold
from secure_fl.nodes.answers import QUESTION, Failed
from secure_fl.nodes.pulse import WORKING

_ERRORS = {
    "InputError": InputError,
    "Refused": InputError,
    "ConfigError": ConfigError,
    "NotPermitted": ConfigError,
}
# Nodes that wait for each other give up after the time limit, and say for whom they waited: that
# is worth hearing before the silent one is given up here.
_PATIENCE = 1.5


Check = Callable[[Mapping[str, Any], int], None]


def _hold(header: Mapping[str, Any], size: int, check: Check | None) -> None:
    """Hold what a node says to what it may say.

    Raises:
        InputError: it is no error, no sign of life and no answer.
    """
    if "error" in header:
        Failed.read(header)
        require(size == 0, "payload of an error", "0 bytes", size)
    elif WORKING in header:
        require((dict(header), size) == ({WORKING: True}, 0), "a sign of life", "one word", "more")
    elif check is not None:
        check(header, size)


class Questions:
    """The coordinator's end of the control channels.

    Args:
        processes: the dealer, then the nodes in order of rank; emptied when they are stopped.
        timeout: seconds that a node may be silent while it is asked. One that works is not silent
            (`secure_fl.nodes.pulse`), so an answer may take any time.
    """

    def __init__(self, processes: list[Process], timeout: float) -> None:
        self._processes = processes
        self._patience = _PATIENCE * timeout
        self._number = 0
        self._under_way: str | None = None
        self._stopped = "closed"
        # Reentrant, so that a signal handler which asks finds the question under way, no deadlock.
        self._lock = threading.RLock()
        self._owner = os.getpid()

    def ask(
        self,
        message: Mapping[str, Any],
        payload: bytes = b"",
        each: Sequence[Mapping[str, Any]] | None = None,
        check: Check | None = None,
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Send one command to all nodes and return their answers, in order of rank.

        Args:
            message: for all of them.
            payload: for all of them.
            each: what every node is told beside it, in order of rank.
            check: raises `InputError` for a header, and a number of bytes that follow, which are no
                answer to this question.

        Raises:
            NodeFailure: a node or the dealer is gone or silent, an answer is none or not to this
                question, or a node refused to combine what another combined; all are stopped then.
            SecureFLError: the nodes refused.
        """
        with self._turn(message["do"]):
            self._number += 1
            nodes = self._processes[1:]
            for rank, process in enumerate(nodes):
                told = {**message, **(each[rank] if each else {}), QUESTION: self._number}
                self._send(process, told, payload)
            answers = self._answers(nodes, check)
            errors = [header for header, _ in answers if "error" in header]
            if 0 < len(errors) < len(nodes) and message["do"] == "aggregate":
                # Their rules' states differ from here on.
                with self._giving_up(nodes[0]):
                    raise NodeFailure(f"only some nodes refused: {errors[0]['message']}")
        for header in errors:
            raise _ERRORS.get(header["error"], SecureFLError)(header["message"])
        return answers

    def tell(self, rank: int, message: Mapping[str, Any], *payload: bytes) -> None:
        """Send one message, which has no answer, to one node.

        Raises:
            NodeFailure: a process is gone; all are stopped then.
        """
        with self._turn(message["do"]):
            self._send(self._processes[1 + rank], message, *payload)

    def first(self, process: Process, rules: Mapping[str, Rule]) -> dict[str, Any]:
        """Receive what a process says unasked when it starts.

        Args:
            process: who says it.
            rules: what each field must be.

        Raises:
            NodeFailure: it is gone or silent, or says something else; all are stopped then.
        """

        def check(header: Mapping[str, Any], size: int) -> None:
            hold("what a party says when it starts", header, rules)
            require(size == 0, "payload of what a party says when it starts", "0 bytes", size)

        return self._receive(process, check)[0]

    def close(self) -> None:
        """Stop all processes, after the question under way in another thread."""
        with self._lock:
            stop_own(self._processes, self._owner)

    @contextlib.contextmanager
    def _turn(self, what: str) -> Iterator[None]:
        """Hold the channels from a question's first byte to its last answer.

        The mark is set before anything is sent and taken away after everything is read, so that
        no interruption, wherever it strikes, leaves the channels out of step unnoticed.

        Raises:
            NodeFailure: the processes are stopped, or belong to another process.
        """
        with self._lock:
            if os.getpid() != self._owner:
                raise NodeFailure("the nodes belong to the process that started them, not to this")
            if self._under_way is not None:
                self._cut_off(self._under_way)
            if not self._processes:
                raise NodeFailure(f"the nodes are stopped: {self._stopped}; open another backend")
            self._under_way = what
            try:
                yield
                self._under_way = None
            finally:
                if self._under_way is not None:
                    self._cut_off(what)

    def _cut_off(self, what: str) -> None:
        """Stop all at once: what they have sent, or still will, answers nobody's question."""
        if self._processes:
            self._stopped = f"the question {what!r} was interrupted"
            kill(self._processes)
        self._under_way = None

    @contextlib.contextmanager
    def _giving_up(self, process: Process) -> Iterator[None]:
        """Stop all if this process is lost; the error names the one that ended first."""
        try:
            yield
        except NodeFailure as cause:
            error = failure(self._processes, process, cause)
            self._stopped = str(error)
            self.close()
            raise error from cause

    def _send(self, process: Process, message: Mapping[str, Any], *payload: bytes) -> None:
        with self._giving_up(process):
            process.channel.send(message, *payload)

    def _receive(
        self, process: Process, check: Check | None = None
    ) -> tuple[dict[str, Any], bytearray]:
        """Receive an answer or a sign of life; its payload is held only if it may be there.

        Raises:
            NodeFailure: it says that it fails, or what it says is neither.
        """
        with self._giving_up(process):
            header, size = process.channel.receive_header()
            try:
                _hold(header, size, check)
            except InputError as error:
                raise NodeFailure(f"it answered what is no answer: {error}") from error
            if header.get("error") == "NodeFailure":
                raise NodeFailure(header["message"])
            payload = bytearray(size)
            process.channel.receive_into(payload)
        return header, payload

    def _answers(
        self, nodes: Sequence[Process], check: Check | None
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Wait for every node's answer, as long as those that have not answered say they work.

        A node that ends closes its connection, which is an answer too: the first bad one counts.
        """
        answers: dict[str, tuple[dict[str, Any], bytearray]] = {}
        waiting = {process.channel.socket: process for process in nodes}
        heard = dict.fromkeys((process.name for process in nodes), time.monotonic())
        while waiting:
            longest = min(waiting.values(), key=lambda process: heard[process.name])
            left = heard[longest.name] + self._patience - time.monotonic()
            ready, _, _ = select.select(list(waiting), [], [], max(0.0, left))
            if not ready:
                with self._giving_up(longest):
                    raise NodeFailure(f"it is silent for {self._patience:g} s, stopped or hung")
            for sock in ready:
                process = waiting[sock]
                header, payload = self._receive(process, check)
                heard[process.name] = time.monotonic()
                if WORKING in header:
                    continue
                with self._giving_up(process):
                    if header.get(QUESTION) != self._number:
                        asked = header.get(QUESTION)
                        raise NodeFailure(f"it answered question {asked}, not {self._number}")
                answers[process.name] = header, payload
                del waiting[sock]
        return [answers[process.name] for process in nodes]
