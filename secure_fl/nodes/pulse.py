"""A node's signs of life: while it works on a question it says so from time to time.

A question may take any time, so the coordinator cannot tell a slow node from a stopped one by the
answer alone. What a sign shows is that the process runs, not that it gets on.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from secure_fl.errors import NodeFailure
from secure_fl.mpc.transport import Channel

# The one word of a sign, which no answer has.
WORKING = "working"
_LONGEST = 5.0


class Pulse:
    """Sends signs of life over a channel, from a thread of its own, inside `working` alone.

    Args:
        channel: to the coordinator. Inside `working` nobody else may use it.
        timeout: how long the coordinator waits at least; signs go four times as often.
    """

    def __init__(self, channel: Channel, timeout: float) -> None:
        self._channel = channel
        self._pause = min(timeout / 4, _LONGEST)
        self._lock = threading.Lock()
        self._at_work = False
        threading.Thread(target=self._beat, daemon=True).start()

    @contextmanager
    def working(self) -> Iterator[None]:
        """Send signs while inside; a sign under way is whole before this ends."""
        with self._lock:
            self._at_work = True
        try:
            yield
        finally:
            with self._lock:
                self._at_work = False

    def _beat(self) -> None:
        pause = threading.Event()
        while not pause.wait(self._pause):
            with self._lock:
                if self._at_work:
                    try:
                        self._channel.send({WORKING: True})
                    except NodeFailure:  # the answer will find the coordinator gone as well
                        return
