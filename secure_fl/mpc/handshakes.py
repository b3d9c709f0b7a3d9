"""How parties meet: who calls whom, and who is let in.

Whoever is called shakes hands with all callers side by side. One that stays silent, or that is
nobody expected, is hung up on and keeps nobody waiting.
"""

from __future__ import annotations

import hmac
import itertools
import select
import socket
import ssl
import time
from collections.abc import Collection, Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Self

from secure_fl.errors import NodeFailure
from secure_fl.mpc.tls import Tls, certified
from secure_fl.mpc.transport import Channel, Frame, Mesh

HOST = "127.0.0.1"
# How long a caller may take to say who it is.
GREETING_SECONDS = 5.0
# Callers listened to at a time; when one more comes the oldest is hung up on.
MOST_CALLERS = 32
_MAX_HELLO = 1024


def listen() -> socket.socket:
    """Return a listening socket on a free loopback port."""
    return socket.create_server((HOST, 0), backlog=64)


def _tune(sock: socket.socket) -> None:
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF):
        sock.setsockopt(socket.SOL_SOCKET, option, 4 << 20)


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
    _tune(sock)
    sock.settimeout(timeout)
    channel = Channel(sock if tls is None else tls.call(sock, peer), peer, lane)
    channel.send({"token": token.hex(), "name": name, "lane": lane})
    return channel


@dataclass
class _Caller:
    """Somebody who called and has not said who it is.

    Attributes:
        channel: to it.   greeting: what is left to be heard; yields what it waits for.
        until: when it is hung up on.   events: what it waits for, as in `select.poll`.
    """

    channel: Channel
    greeting: Generator[int, None, bool]
    until: float
    events: int = select.POLLIN


class Reception:
    """Lets in those who are expected, in whatever order they come.

    Args:
        server: a listening socket; it stays open.
        token: what all parties know.
        tls: this party's keys. The certificate, not the caller, then says who it is.
    """

    def __init__(self, server: socket.socket, token: bytes, tls: Tls | None = None) -> None:
        self._server = server
        self._token = token
        self._tls = tls
        self._callers: list[_Caller] = []
        server.setblocking(False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exc_info: object) -> None:
        for caller in self._callers:
            caller.channel.close()
        self._callers.clear()

    def next(self, expected: Collection[tuple[str, int]], timeout: float) -> Channel:
        """Wait for one of those expected, given by name and lane; return the channel to it.

        Its time limit is `timeout` as well.

        Raises:
            NodeFailure: none of them came in time.
        """
        deadline = time.monotonic() + timeout
        while True:
            self._hang_up(time.monotonic())
            rest = deadline - time.monotonic()
            if rest <= 0:
                raise NodeFailure(f"no connection within {timeout:g} s")
            for caller in self._ready(rest):
                if not self._heard(caller):
                    continue
                self._callers.remove(caller)
                channel = caller.channel
                if (channel.peer, channel.lane) in expected:
                    channel.socket.settimeout(timeout)
                    return channel
                channel.close()

    def _hang_up(self, now: float) -> None:
        """Drop those who are late, and the oldest where there are too many."""
        late = sum(caller.until <= now for caller in self._callers)
        count = max(late, len(self._callers) - MOST_CALLERS)
        for caller in self._callers[:count]:  # in order of arrival, so of lateness
            caller.channel.close()
        del self._callers[:count]

    def _ready(self, seconds: float) -> list[_Caller]:
        """Wait for a caller to say something, or for a new one."""
        poller = select.poll()
        poller.register(self._server, select.POLLIN)
        for caller in self._callers:
            poller.register(caller.channel.socket, caller.events)
            seconds = min(seconds, caller.until - time.monotonic())
        ready = {number for number, _ in poller.poll(max(0.0, seconds) * 1000)}
        if self._server.fileno() in ready:
            self._callers.extend(self._new())
        return [c for c in self._callers if c.channel.socket.fileno() in ready]

    def _new(self) -> Iterator[_Caller]:
        """Take one call, if the caller has not gone again."""
        try:
            sock, _ = self._server.accept()
        except (BlockingIOError, ConnectionError):
            return
        try:
            _tune(sock)
            sock.setblocking(False)
            taken = sock if self._tls is None else self._tls.answer(sock)
        except OSError:  # a caller who hung up before this; TLS asks who it is, and finds nobody
            sock.close()
            return
        channel = Channel(taken, "new peer")
        until = time.monotonic() + GREETING_SECONDS
        yield _Caller(channel, self._greet(channel), until)

    def _heard(self, caller: _Caller) -> bool:
        """Listen on; return whether a caller has proved who it is. Strangers are hung up on."""
        try:
            caller.events = next(caller.greeting)
            return False
        except StopIteration as end:
            known = bool(end.value)
        except (NodeFailure, ValueError, KeyError, TypeError, OSError):
            known = False
        if not known:
            caller.channel.close()
            self._callers.remove(caller)
        return known

    def _greet(self, channel: Channel) -> Generator[int, None, bool]:
        """Shake hands and read the hello; whether it knows the token and is whom it names."""
        sock = channel.socket
        while isinstance(sock, ssl.SSLSocket):
            try:
                sock.do_handshake()
                break
            except ssl.SSLWantReadError:
                yield select.POLLIN
            except ssl.SSLWantWriteError:
                yield select.POLLOUT
        frame = Frame(limit=0, header_limit=_MAX_HELLO)
        for part in frame.parts(channel.peer):
            view = memoryview(part)
            while view:
                count = channel.try_receive(view)
                view = view[count:]
                if not count:
                    yield select.POLLIN
        hello = frame.header
        channel.peer, channel.lane = str(hello["name"]), int(hello.get("lane", 0))
        known = hmac.compare_digest(bytes.fromhex(str(hello.get("token", ""))), self._token)
        return known and (self._tls is None or certified(sock, channel.peer))


def connect_peers(
    rank: int,
    ports: Sequence[int],
    server: socket.socket,
    token: bytes,
    timeout: float,
    tls: Tls | None = None,
    lanes: int = 1,
    start: float | None = None,
) -> Mesh:
    """Connect one node to all others: it calls those before it and is called by those after.

    Args:
        rank: this node's.   ports: where each node listens, in order of rank.
        server: this node's listening socket, closed at the end.
        token: what all nodes know.   timeout: seconds that a peer may be silent.
        tls: this node's keys, if connections are to be encrypted.
        lanes: connections to each peer, see `Mesh`.
        start: seconds to wait for those after it, if not `timeout`.

    Raises:
        NodeFailure: a peer did not appear in time.
    """
    channels: list[dict[int, Channel]] = [{} for _ in range(lanes)]
    with server, Reception(server, token, tls) as reception:
        for lane, peer in itertools.product(range(lanes), range(rank)):
            channels[lane][peer] = connect(
                ports[peer], token, f"node {rank}", timeout, f"node {peer}", tls, lane
            )
        waiting = {
            (f"node {peer}", lane): peer
            for lane, peer in itertools.product(range(lanes), range(rank + 1, len(ports)))
        }
        while waiting:
            channel = reception.next(waiting, timeout if start is None else start)
            channel.socket.settimeout(timeout)
            channels[channel.lane][waiting.pop((channel.peer, channel.lane))] = channel
    return Mesh(rank, channels[0], [Mesh(rank, lane) for lane in channels[1:]])
