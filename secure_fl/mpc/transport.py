"""Framed messages over loopback TCP, and the all-to-all exchange between computing nodes.

Collectives of torch.distributed take milliseconds for a few bytes; a circuit of some hundred
rounds is then all latency. A plain socket with Nagle's algorithm off takes tens of microseconds.
"""

from __future__ import annotations

import contextlib
import hmac
import itertools
import json
import select
import socket
import ssl
import struct
from collections.abc import Mapping, Sequence
from typing import Any, BinaryIO, Protocol

import numpy as np

from secure_fl.errors import NodeFailure
from secure_fl.mpc.tls import Tls, certified

HOST = "127.0.0.1"
_FRAME = struct.Struct(">IQ")  # length of the JSON header, length of the payload
_MAX_HEADER = 1 << 24
_MAX_PAYLOAD = 1 << 34
# Up to this size a message fits the kernel's socket buffers, so both sides may send before
# either receives; above it, both directions are served as they become ready.
_DIRECT_BYTES = 64 * 1024

# What a socket that does not wait raises where it would have to.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Buffer = bytes | bytearray | memoryview


def listen() -> socket.socket:
    """Return a listening socket on a free loopback port."""
    return socket.create_server((HOST, 0), backlog=16)


def _tune(sock: socket.socket, timeout: float) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)
    sock.settimeout(timeout)


def connect(
    port: int,
    token: bytes,
    name: str,
    timeout: float,
    peer: str = "the other end",
    tls: Tls | None = None,
    lane: int = 0,
) -> Channel:
    """Open a channel to a local port, where `peer` listens, and introduce ourselves as `name`.

    Between two nodes there may be several, told apart by `lane`.

    Raises:
        NodeFailure: nobody listens there, or TLS is on and it is not `peer`.
    """
    try:
        sock = socket.create_connection((HOST, port), timeout=timeout)
    except OSError as error:
        raise NodeFailure(f"cannot connect to {peer}: {error}") from error
    _tune(sock, timeout)
    channel = Channel(sock if tls is None else tls.call(sock, peer), peer, lane)
    channel.send({"token": token.hex(), "name": name, "lane": lane})
    return channel


def accept(server: socket.socket, token: bytes, timeout: float, tls: Tls | None = None) -> Channel:
    """Accept one peer that knows `token`; strangers are hung up on and waiting goes on.

    With TLS, the peer's certificate must be for the name that it gives.

    Raises:
        NodeFailure: nobody with the token arrived in time.
    """
    server.settimeout(timeout)
    while True:
        try:
            sock, _ = server.accept()
        except TimeoutError as error:
            raise NodeFailure(f"no connection within {timeout:g} s") from error
        _tune(sock, timeout)
        channel = Channel(sock, "new peer")
        try:
            if tls is not None:
                channel = Channel(tls.answer(sock), "new peer")
            hello, _ = channel.receive(limit=0)
            channel.peer, channel.lane = str(hello["name"]), int(hello.get("lane", 0))
            known = hmac.compare_digest(bytes.fromhex(str(hello.get("token", ""))), token)
            if known and (tls is None or certified(channel.socket, channel.peer)):
                return channel
        except (NodeFailure, ValueError, KeyError, TypeError):
            channel.close()
            continue
        channel.close()


def connect_peers(
    rank: int,
    ports: Sequence[int],
    server: socket.socket,
    token: bytes,
    timeout: float,
    tls: Tls | None = None,
    lanes: int = 1,
) -> Mesh:
    """Connect one node to all others: it calls those before it and is called by those after.

    Args:
        rank: this node's.   ports: where each node listens, in order of rank.
        server: this node's listening socket, closed at the end.
        token: what all nodes know.   timeout: seconds to wait, and that a peer may be silent.
        tls: this node's keys, if connections are to be encrypted.
        lanes: connections to each peer, see `Mesh`.

    Raises:
        NodeFailure: a peer did not appear in time.
    """
    channels: list[dict[int, Channel]] = [{} for _ in range(lanes)]
    with server:
        for lane, peer in itertools.product(range(lanes), range(rank)):
            channels[lane][peer] = connect(
                ports[peer], token, f"node {rank}", timeout, f"node {peer}", tls, lane
            )
        for _ in range(lanes * (len(ports) - rank - 1)):
            channel = accept(server, token, timeout, tls)
            channels[channel.lane][int(channel.peer.split()[1])] = channel
    return Mesh(rank, channels[0], [Mesh(rank, lane) for lane in channels[1:]])


class Channel:
    """A socket that carries frames: a JSON header and a binary payload.

    Attributes:
        peer: who is at the other end.   lane: which of several channels to it this is.
    """

    def __init__(self, sock: socket.socket, peer: str, lane: int = 0) -> None:
        self.socket = sock
        self.peer = peer
        self.lane = lane
        self._record: BinaryIO | None = None

    def record(self, path: str) -> None:
        """Write everything received from now on to a file, so that it can be inspected."""
        self._record = open(path, "wb", buffering=0)  # noqa: SIM115 - closed with the channel

    def send(self, header: Mapping[str, Any], *payload: Buffer) -> None:
        """Send one frame.

        Raises:
            NodeFailure: the peer is gone.
        """
        text = json.dumps(header).encode()
        views = [memoryview(part).cast("B") for part in payload]
        frame = _FRAME.pack(len(text), sum(len(view) for view in views))
        try:
            self.socket.sendall(frame + text)
            for view in views:
                self.socket.sendall(view)
        except OSError as error:
            raise NodeFailure(f"cannot send to {self.peer}: {error}") from error

    def receive(self, limit: int = _MAX_PAYLOAD) -> tuple[dict[str, Any], bytearray]:
        """Receive one frame whose payload is at most `limit` bytes.

        Raises:
            NodeFailure: the peer is gone, silent for too long, or sent a malformed frame.
        """
        head = bytearray(_FRAME.size)
        self.receive_into(head)
        header_size, payload_size = _FRAME.unpack(head)
        if header_size > _MAX_HEADER or payload_size > limit:
            raise NodeFailure(
                f"{self.peer} sent a frame of {header_size} + {payload_size} bytes; "
                f"at most {_MAX_HEADER} + {limit} are accepted"
            )
        text, payload = bytearray(header_size), bytearray(payload_size)
        self.receive_into(text)
        self.receive_into(payload)
        header = json.loads(text.decode())
        if not isinstance(header, dict):
            raise NodeFailure(f"{self.peer} sent a header that is not an object")
        return header, payload

    def send_raw(self, data: Buffer) -> None:
        """Send bytes whose number the peer already knows."""
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise NodeFailure(f"cannot send to {self.peer}: {error}") from error

    def send_array(self, array: np.ndarray) -> None:
        """Send an array's bytes in C order."""
        self.send_raw(np.ascontiguousarray(array).data.cast("B"))

    def receive_into(self, buffer: Buffer) -> None:
        """Fill `buffer` from the socket."""
        view = memoryview(buffer).cast("B")
        done = 0
        while done < len(view):
            done += self.receive_some(view[done:])

    def receive_some(self, view: memoryview) -> int:
        """Receive at least one byte into `view`; return how many."""
        try:
            count = self.socket.recv_into(view)
        except TimeoutError as error:
            raise NodeFailure(f"{self.peer} is silent for too long") from error
        except OSError as error:
            raise NodeFailure(f"lost {self.peer}: {error}") from error
        return self._received(view, count)

    def _received(self, view: memoryview, count: int) -> int:
        if count == 0:
            raise NodeFailure(f"{self.peer} closed the connection")
        if self._record is not None:
            self._record.write(view[:count])
        return count

    def try_receive(self, view: memoryview) -> int:
        """Receive what is there; return how many bytes. For sockets that do not wait."""
        try:
            count = self.socket.recv_into(view)
        except _NOT_NOW:
            return 0
        except OSError as error:
            raise NodeFailure(f"lost {self.peer}: {error}") from error
        return self._received(view, count)

    def try_send(self, view: memoryview) -> int:
        """Send what the socket takes; return how many bytes. For sockets that do not wait."""
        try:
            return self.socket.send(view)
        except _NOT_NOW:
            return 0
        except OSError as error:
            raise NodeFailure(f"cannot send to {self.peer}: {error}") from error

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        if self._record is not None:
            self._record.close()


class Exchange(Protocol):
    """What the protocols need of a network: `Mesh`, or a CrypTen communicator behind it."""

    rank: int
    size: int

    def exchange(self, mine: np.ndarray) -> list[np.ndarray]:
        """Send `mine` to every peer; return what each peer sent, in order of rank."""


def _advance(rest: dict[Channel, memoryview], channel: Channel, count: int) -> None:
    """Take the first `count` bytes off what is left for a channel; drop it at the end."""
    if left := rest[channel][count:]:
        rest[channel] = left
    else:
        del rest[channel]


def _wait(
    incoming: Mapping[Channel, memoryview],
    outgoing: Mapping[Channel, memoryview],
    timeout: float | None,
) -> None:
    """Wait until some socket is ready.

    Raises:
        NodeFailure: none was for `timeout` seconds.
    """
    poller = select.poll()
    for channel in {**incoming, **outgoing}:
        events = select.POLLIN | (select.POLLOUT if channel in outgoing else 0)
        poller.register(channel.socket, events)
    if not poller.poll(None if timeout is None else timeout * 1000):
        waiting = sorted(channel.peer for channel in incoming or outgoing)
        raise NodeFailure(f"{', '.join(waiting)} is silent for too long")


class Mesh:
    """The computing nodes' network: every node talks with every other.

    Attributes:
        rank, size: this node's number and the number of nodes.
        lanes: networks over connections of their own that can be used side by side, each by one
            thread; the first is this one.
    """

    def __init__(
        self, rank: int, channels: Mapping[int, Channel], others: Sequence[Mesh] = ()
    ) -> None:
        self.rank = rank
        self.size = len(channels) + 1
        self.channels = dict(channels)
        self.lanes = [self, *others]
        self._ordered = [self.channels[peer] for peer in self.peers]
        self._rounds = 0
        self._bytes_sent = 0

    @property
    def rounds(self) -> int:
        """Exchanges so far, on all lanes."""
        return sum(lane._rounds for lane in self.lanes)

    @property
    def bytes_sent(self) -> int:
        """Bytes that this node sent in them."""
        return sum(lane._bytes_sent for lane in self.lanes)

    @property
    def peers(self) -> Sequence[int]:
        """Ranks of the other nodes, ascending."""
        return sorted(self.channels)

    def exchange(self, mine: np.ndarray) -> list[np.ndarray]:
        """Send `mine` to every peer; return what each peer sent, in order of rank.

        All nodes call this with arrays of one shape and type: one round.
        """
        mine = np.ascontiguousarray(mine)
        theirs = [np.empty_like(mine) for _ in self.peers]
        if mine.nbytes > _DIRECT_BYTES:
            self._duplex(mine, theirs)
        elif mine.nbytes:
            for channel in self._ordered:
                channel.send_raw(mine.data.cast("B"))
            for channel, array in zip(self._ordered, theirs, strict=True):
                channel.receive_into(array.data.cast("B"))
        self.count(mine.nbytes * len(theirs))
        return theirs

    def count(self, size: int) -> None:
        """Count one round in which this node sent `size` bytes."""
        self._rounds += 1
        self._bytes_sent += size

    def _duplex(self, mine: np.ndarray, theirs: Sequence[np.ndarray]) -> None:
        """Send and receive as the sockets allow: both ends may have more than the buffers hold."""
        whole = mine.data.cast("B")
        outgoing = dict.fromkeys(self._ordered, whole)
        incoming = {c: t.data.cast("B") for c, t in zip(self._ordered, theirs, strict=True)}
        timeout = self._ordered[0].socket.gettimeout()
        for channel in self._ordered:
            channel.socket.settimeout(0)
        while outgoing or incoming:
            moved = 0
            for channel in self._ordered:
                if channel in incoming:
                    count = channel.try_receive(incoming[channel])
                    moved += count
                    _advance(incoming, channel, count)
                if channel in outgoing:
                    # TLS wants an unfinished write repeated: the same piece until it is gone.
                    count = channel.try_send(outgoing[channel][:_DIRECT_BYTES])
                    moved += count
                    _advance(outgoing, channel, count)
            if not moved:
                _wait(incoming, outgoing, timeout)
        for channel in self._ordered:
            channel.socket.settimeout(timeout)

    def close(self) -> None:
        """Close all channels, also under threads that wait on them."""
        for lane in self.lanes:
            for channel in lane.channels.values():
                with contextlib.suppress(OSError):  # the peer was faster
                    channel.socket.shutdown(socket.SHUT_RDWR)
                channel.close()
