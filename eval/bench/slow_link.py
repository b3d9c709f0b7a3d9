"""A slow network on loopback: forwards TCP connections with a delay and a limited throughput."""

from __future__ import annotations

import queue
import socket
import threading
import time
from typing import Self

from secure_fl.errors import require

_CHUNK = 64 * 1024


# Bytes under way, with the time at which each arrives.
_Chunks = queue.SimpleQueue[tuple[float, bytes]]


class _Wire:
    """One direction of a link: sends one byte after the other."""

    def __init__(self, seconds_per_byte: float) -> None:
        self._seconds_per_byte = seconds_per_byte
        self._free = time.monotonic()  # when it has sent what came before
        self._lock = threading.Lock()

    def sent(self, size: int) -> float:
        """Return when `size` more bytes will have been sent."""
        with self._lock:
            now = max(self._free, time.monotonic())
            self._free = now + size * self._seconds_per_byte
            return self._free


class SlowLink:
    """Forwards connections to local ports as a network of the given kind would; a context manager.

    Args:
        latency_ms: time that each byte is under way, one way.
        mbit: throughput of each direction, megabit a second, shared by all connections to a port.

    Raises:
        InputError: a negative latency, or a throughput that is not positive.
    """

    def __init__(self, latency_ms: float, mbit: float) -> None:
        require(latency_ms >= 0, "latency_ms", "at least 0", latency_ms)
        require(mbit > 0, "mbit", "positive", mbit)
        self._latency = latency_ms / 1e3
        self._seconds_per_byte = 8 / (mbit * 1e6)
        self._sockets: list[socket.socket] = []
        self._closed = threading.Event()

    def route(self, port: int) -> int:
        """Return a new local port that leads to `port`, slowly."""
        server = socket.create_server(("127.0.0.1", 0))
        self._sockets.append(server)
        wires = _Wire(self._seconds_per_byte), _Wire(self._seconds_per_byte)
        threading.Thread(target=self._accept, args=(server, port, wires), daemon=True).start()
        return int(server.getsockname()[1])

    def _accept(self, server: socket.socket, port: int, wires: tuple[_Wire, _Wire]) -> None:
        while not self._closed.is_set():
            try:
                near, _ = server.accept()
                far = socket.create_connection(("127.0.0.1", port))
            except OSError:  # the link is closed, or nobody listens there any more
                return
            for sock in (near, far):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                self._sockets.append(sock)
            for source, target, wire in ((near, far, wires[0]), (far, near, wires[1])):
                chunks: _Chunks = queue.SimpleQueue()
                read, write = (source, chunks, wire), (target, chunks)
                threading.Thread(target=self._read, args=read, daemon=True).start()
                threading.Thread(target=self._write, args=write, daemon=True).start()

    def _read(self, source: socket.socket, chunks: _Chunks, wire: _Wire) -> None:
        data = b"?"
        while data:
            try:
                data = source.recv(_CHUNK)
            except OSError:
                data = b""
            chunks.put((wire.sent(len(data)) + self._latency, data))

    def _write(self, target: socket.socket, chunks: _Chunks) -> None:
        while True:
            due, data = chunks.get()
            time.sleep(max(0.0, due - time.monotonic()))
            try:
                if not data:
                    target.shutdown(socket.SHUT_WR)
                    return
                target.sendall(data)
            except OSError:  # the receiver is gone; the sender will notice
                return

    def close(self) -> None:
        """Cut all connections."""
        self._closed.set()
        for sock in self._sockets:
            sock.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()
