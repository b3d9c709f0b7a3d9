"""Framed messages over TCP, and the all-to-all exchange between computing nodes.

Collectives of torch.distributed take milliseconds for a few bytes; a circuit of some hundred
rounds is then all latency. A plain socket with Nagle's algorithm off takes tens of microseconds.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import socket
import ssl
import struct
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np

from ledger.files import parse_json
from secure_fl.errors import NodeFailure

_FRAME = struct.Struct(">IQ")  # length of the JSON header, length of the payload
_MAX_HEADER = 1 << 24
_MAX_PAYLOAD = 1 << 34
# Up to this size a message fits the kernel's socket buffers, so both sides may send before
# either receives; above it, both directions are served as they become ready.
_DIRECT_BYTES = 64 * 1024

# What a socket that does not wait raises where it would have to.
_NOT_NOW = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)

Buffer = bytes | bytearray | memoryview


class UnreadableHeader(NodeFailure):
    """A frame whose sizes are good and whose header is not.

    Attributes:
        payload: bytes that follow it.
    """

    def __init__(self, why: str, payload: int) -> None:
        super().__init__(why)
        self.payload = payload


class Frame:
    """A frame's head, read part by part.

    Attributes:
        header: the JSON object, once all parts are filled.   payload: size of what follows.

    Args:
        limit: most bytes of payload.   header_limit: most bytes of header.
    """

    def __init__(self, limit: int, header_limit: int = _MAX_HEADER) -> None:
        self.header: dict[str, Any] = {}
        self.payload = 0
        self._limits = header_limit, limit

    def parts(self, peer: str) -> Iterator[bytearray]:
        """Yield buffers for the reader to fill, one after the other; sizes are checked first.

        Raises:
            NodeFailure: too long; `peer` sent it.
            UnreadableHeader: not a JSON object, with NaN or Infinity in it, or nested deeply.
        """
        head = bytearray(_FRAME.size)
        yield head
        size, self.payload = _FRAME.unpack(head)
        most, limit = self._limits
        if size > most or self.payload > limit:
            raise NodeFailure(
                f"{peer} sent a frame of {size} + {self.payload} bytes; "
                f"at most {most} + {limit} are accepted"
            )
        text = bytearray(size)
        yield text
        try:
            header = parse_json(text.decode())
        except ValueError as error:
            why = f"{peer} sent a header that is not JSON, or nested"
            raise UnreadableHeader(why, self.payload) from error
        if not isinstance(header, dict):
            raise UnreadableHeader(f"{peer} sent a header that is not an object", self.payload)
        self.header = header


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
        self._sent: BinaryIO | None = None

    def record(self, path: str, sent: str | None = None) -> None:
        """Write everything received from now on to a file, and to another everything sent.

        Nobody but the owner may read them.
        """
        self._record = open_private(path)  # closed with the channel
        if sent is not None:
            self._sent = open_private(sent)

    def _note_sent(self, data: Buffer) -> None:
        if self._sent is not None:
            self._sent.write(data)

    def send(self, header: Mapping[str, Any], *payload: Buffer) -> None:
        """Send one frame.

        Raises:
            NodeFailure: the peer is gone.
        """
        text = json.dumps(header).encode()
        views = [memoryview(part).cast("B") for part in payload]
        frame = _FRAME.pack(len(text), sum(len(view) for view in views))
        self.send_raw(frame + text)
        for view in views:
            self.send_raw(view)

    def receive(self, limit: int = _MAX_PAYLOAD) -> tuple[dict[str, Any], bytearray]:
        """Receive one frame whose payload is at most `limit` bytes.

        Raises:
            NodeFailure: the peer is gone, silent for too long, or sent a malformed frame.
        """
        header, size = self.receive_header(limit)
        payload = bytearray(size)
        self.receive_into(payload)
        return header, payload

    def receive_header(self, limit: int = _MAX_PAYLOAD) -> tuple[dict[str, Any], int]:
        """Receive a frame's header; return it and the size of the payload that follows.

        Raises:
            NodeFailure: as `receive`.
        """
        frame = Frame(limit)
        for part in frame.parts(self.peer):
            self.receive_into(part)
        return frame.header, frame.payload

    def discard(self, size: int) -> None:
        """Receive bytes that nobody wants, a piece at a time."""
        piece = memoryview(bytearray(min(size, _DIRECT_BYTES)))
        while size > 0:
            size -= self.receive_some(piece[:size])

    def send_raw(self, data: Buffer) -> None:
        """Send bytes whose number the peer already knows.

        Raises:
            NodeFailure: the peer is gone.
        """
        try:
            self.socket.sendall(data)
        except OSError as error:
            raise NodeFailure(f"cannot send to {self.peer}: {error}") from error
        self._note_sent(data)

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
            count = self.socket.send(view)
        except _NOT_NOW:
            return 0
        except OSError as error:
            raise NodeFailure(f"cannot send to {self.peer}: {error}") from error
        self._note_sent(view[:count])
        return count

    def hung_up(self) -> bool:
        """Whether the peer has closed the connection, even if what it sent is not read yet."""
        poller = select.poll()
        # Where a system does not tell half a close, a whole one.
        poller.register(self.socket, getattr(select, "POLLRDHUP", select.POLLHUP))
        return bool(poller.poll(0))

    def close(self) -> None:
        """Close the socket."""
        self.socket.close()
        for file in (self._record, self._sent):
            if file is not None:
                file.close()


def open_private(path: Path | str) -> BinaryIO:
    """Open a file for writing, empty and without a buffer, that its owner alone may read."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    file = open(os.open(path, flags, 0o600), "wb", buffering=0)  # noqa: SIM115 - the caller's
    os.fchmod(file.fileno(), 0o600)  # it may have been there
    return file


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
