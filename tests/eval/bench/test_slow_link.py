"""The slow link delivers everything, in order, and not before its time."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest

from eval.bench.slow_link import SlowLink
from secure_fl.errors import InputError


def test_bytes_arrive_whole_in_both_directions_and_late() -> None:
    data = os.urandom(300_000)
    with socket.create_server(("127.0.0.1", 0)) as server, SlowLink(30.0, 100.0) as link:

        def echo() -> None:
            connection, _ = server.accept()
            with connection:
                while part := connection.recv(65536):
                    connection.sendall(part)

        thread = threading.Thread(target=echo, daemon=True)
        thread.start()
        start = time.monotonic()
        with socket.create_connection(("127.0.0.1", link.route(server.getsockname()[1]))) as sock:
            sender = threading.Thread(target=sock.sendall, args=(data,), daemon=True)
            sender.start()
            received = b""
            while len(received) < len(data):
                received += sock.recv(65536)
            sender.join()
        elapsed = time.monotonic() - start
        thread.join(timeout=10)
    assert received == data
    # There and back at 30 ms, and 300 kB at 100 Mbit/s: never sooner.
    assert elapsed >= 0.060 + 300_000 * 8 / 100e6
    assert not thread.is_alive()


@pytest.mark.parametrize(("latency", "mbit"), [(-1.0, 1.0), (0.0, 0.0)])
def test_impossible_links_are_refused(latency: float, mbit: float) -> None:
    with pytest.raises(InputError):
        SlowLink(latency, mbit)
