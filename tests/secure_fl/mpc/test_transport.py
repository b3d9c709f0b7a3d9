"""Frames and exchanges over real sockets: right bytes, strangers and malformed frames refused."""

from __future__ import annotations

import contextlib
import json
import socket
import struct
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from secure_fl.errors import NodeFailure
from secure_fl.mpc import handshakes
from secure_fl.mpc.handshakes import Reception, connect, connect_peers, listen
from secure_fl.mpc.transport import Channel, Mesh, open_private

TOKEN = bytes(range(32))
TIMEOUT = 10.0


def meshes(size: int, timeout: float = TIMEOUT) -> list[Mesh]:
    """Connected nodes, one thread each while they connect."""
    servers = [listen() for _ in range(size)]
    ports = [server.getsockname()[1] for server in servers]
    with ThreadPoolExecutor(size) as pool:
        made = [
            pool.submit(connect_peers, rank, ports, servers[rank], TOKEN, timeout)
            for rank in range(size)
        ]
        return [one.result() for one in made]


def everywhere(parties: list[Any], act: Callable[[Any], Any]) -> list[Any]:
    """Do the same at every party at once."""
    with ThreadPoolExecutor(len(parties)) as pool:
        return list(pool.map(act, parties))


@pytest.fixture
def pair() -> Iterator[tuple[Channel, Channel]]:
    first, second = socket.socketpair()
    channels = Channel(first, "left"), Channel(second, "right")
    for channel in channels:
        channel.socket.settimeout(TIMEOUT)
    yield channels
    for channel in channels:
        channel.close()


def admit(server: socket.socket, timeout: float = TIMEOUT) -> Channel:
    """Let node 1 in."""
    with Reception(server, TOKEN) as reception:
        return reception.next({("node 1", 0)}, timeout)


def raw_frame(header: bytes, payload: bytes = b"") -> bytes:
    return struct.pack(">IQ", len(header), len(payload)) + header + payload


# --- frames -----------------------------------------------------------------------------------


@settings(max_examples=40, deadline=None)
@given(
    header=st.dictionaries(st.text(max_size=5), st.one_of(st.integers(), st.text()), max_size=4),
    parts=st.lists(st.binary(max_size=300), max_size=3),
)
def test_frames_arrive_as_they_were_sent(header: dict[str, Any], parts: list[bytes]) -> None:
    left, right = (Channel(sock, "peer") for sock in socket.socketpair())
    left.send(header, *parts)
    left.send({"next": True})
    assert right.receive() == (header, bytearray(b"".join(parts)))
    assert right.receive() == ({"next": True}, bytearray())
    left.close()
    right.close()


def test_a_payload_above_the_limit_is_refused(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    left.send({}, b"12345")
    with pytest.raises(NodeFailure, match=r"right sent a frame of 2 \+ 5 bytes; at most .* \+ 4"):
        right.receive(limit=4)


@pytest.mark.parametrize(
    "head", [struct.pack(">IQ", 2**31, 0), struct.pack(">IQ", 2, 2**60), b"\xff" * 12]
)
def test_a_frame_of_absurd_size_is_refused_before_memory_is_taken(
    pair: tuple[Channel, Channel], head: bytes
) -> None:
    left, right = pair
    left.socket.sendall(head)
    with pytest.raises(NodeFailure, match="are accepted"):
        right.receive()


@pytest.mark.parametrize("text", [b"[1, 2]", b"3", b"null", b'"text"'])
def test_a_header_that_is_no_object_is_refused(pair: tuple[Channel, Channel], text: bytes) -> None:
    left, right = pair
    left.socket.sendall(raw_frame(text))
    with pytest.raises(NodeFailure, match="header that is not an object"):
        right.receive()


DEEP = b'{"a":' + 100_000 * b"[" + 100_000 * b"]" + b"}"


@pytest.mark.parametrize("text", [b"{", b"\xff\xfe", b"{'a': 1}", b"\x80\x04}q\x00.", DEEP])
def test_a_header_that_is_no_json_is_an_error(pair: tuple[Channel, Channel], text: bytes) -> None:
    """A pickle among them: nothing is ever unpickled; and one nested deeper than the stack."""
    left, right = pair
    left.socket.sendall(raw_frame(text))
    with pytest.raises(NodeFailure, match="right sent a header that is not JSON"):
        right.receive()


def test_a_frame_that_breaks_off_is_an_error(pair: tuple[Channel, Channel]) -> None:
    left, right = pair
    left.socket.sendall(raw_frame(b"{}", b"12345")[:-2])
    left.close()
    with pytest.raises(NodeFailure, match="right closed the connection"):
        right.receive()


def test_a_silent_peer_is_an_error(pair: tuple[Channel, Channel]) -> None:
    _, right = pair
    right.socket.settimeout(0.1)
    with pytest.raises(NodeFailure, match="right is silent for too long"):
        right.receive()


# --- strangers --------------------------------------------------------------------------------


def hello(token: str, name: Any = "node 1") -> bytes:
    return raw_frame(json.dumps({"token": token, "name": name}).encode())


@pytest.mark.parametrize(
    "greeting",
    [
        hello("5a" * 32),
        hello(""),
        hello("not hexadecimal"),
        hello(TOKEN.hex()[:-2]),
        raw_frame(b'{"name": "node 1"}'),
        raw_frame(b"[]"),
        raw_frame(b"{"),
        raw_frame(b"\xff\xff"),
        raw_frame(json.dumps({"token": TOKEN.hex()}).encode()),  # knows it, gives no name
        raw_frame(b"{}", b"payload where none belongs"),
        raw_frame(b'{"name":' + b"[" * 900),
        struct.pack(">IQ", 2**20, 0),  # longer than any hello
        hello(TOKEN.hex(), "node 2"),  # nobody expected
        hello(TOKEN.hex(), "coordinator"),
        b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
        b"",
    ],
)
def test_strangers_are_hung_up_on_and_friends_still_get_in(greeting: bytes) -> None:
    server = listen()
    port = server.getsockname()[1]
    with server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admit, server)
        stranger = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
        stranger.sendall(greeting)
        with contextlib.suppress(OSError):  # hung up on already
            stranger.shutdown(socket.SHUT_WR)
        friend = connect(port, TOKEN, "node 1", TIMEOUT)
        channel = waiting.result(timeout=TIMEOUT)
        assert channel.peer == "node 1"
        friend.send({"from": "friend"})
        assert channel.receive()[0] == {"from": "friend"}
        with contextlib.suppress(ConnectionResetError):  # hung up on with data unread
            assert stranger.recv(1) == b""
        for thing in (stranger, friend, channel):
            thing.close()


@pytest.mark.parametrize("said", [b"", b"\0", hello(TOKEN.hex())[:-1]])
def test_silent_strangers_keep_nobody_waiting(said: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    """More of them than are listened to, connected before the friend, and they stay."""
    monkeypatch.setattr(handshakes, "GREETING_SECONDS", 1000.0)  # none is dropped for being late
    with listen() as server, ThreadPoolExecutor(1) as pool, contextlib.ExitStack() as stack:
        port = server.getsockname()[1]
        waiting = pool.submit(admit, server)
        for _ in range(handshakes.MOST_CALLERS + 3):
            silent = socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT)
            stack.enter_context(silent)
            silent.sendall(said)
        friend = connect(port, TOKEN, "node 1", TIMEOUT)
        assert waiting.result(timeout=TIMEOUT).peer == "node 1"
        friend.close()


def test_a_silent_stranger_is_hung_up_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(handshakes, "GREETING_SECONDS", 0.05)
    with listen() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admit, server)
        port = server.getsockname()[1]
        with socket.create_connection(("127.0.0.1", port), timeout=TIMEOUT) as silent:
            assert silent.recv(1) == b""
        with connect(port, TOKEN, "node 1", TIMEOUT).socket:
            assert waiting.result(timeout=TIMEOUT).peer == "node 1"


def test_nobody_in_time_is_an_error() -> None:
    with listen() as server, pytest.raises(NodeFailure, match=r"no connection within 0\.1 s"):
        admit(server, 0.1)


def test_only_this_machine_can_connect() -> None:
    with listen() as server:
        assert server.getsockname()[0] == "127.0.0.1"


# --- the mesh ---------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [2, 3, 4])
@pytest.mark.parametrize("count", [0, 1, 1000, 20_000, 3_000_000 // 8])
def test_everyone_gets_everyones_array(size: int, count: int) -> None:
    """From nothing to more than the sockets' buffers hold in both directions."""
    nodes = meshes(size)
    sent = [np.full(count, rank, np.int64) + np.arange(count) for rank in range(size)]
    for _ in range(2):
        got = everywhere(nodes, lambda mesh: mesh.exchange(sent[mesh.rank]))
        for rank, parts in enumerate(got):
            expected = [sent[peer] for peer in range(size) if peer != rank]
            assert all(np.array_equal(a, b) for a, b in zip(parts, expected, strict=True))
    for mesh in nodes:
        assert (mesh.rounds, mesh.bytes_sent) == (2, 2 * 8 * count * (size - 1))
        mesh.close()


def test_arrays_that_are_not_contiguous_are_sent_by_value() -> None:
    nodes = meshes(2)
    grid = np.arange(12).reshape(3, 4)
    got = everywhere(nodes, lambda mesh: mesh.exchange(grid.T if mesh.rank else grid[:, ::-1].T))
    assert np.array_equal(got[0][0], grid.T)
    assert np.array_equal(got[1][0], grid[:, ::-1].T)
    for mesh in nodes:
        mesh.close()


@pytest.mark.parametrize("count", [1, 3_000_000])
def test_a_peer_that_leaves_is_named(count: int) -> None:
    nodes = meshes(3)
    nodes[2].close()
    for complaint in everywhere(nodes[:2], lambda mesh: complaint_of(mesh, count)):
        assert "node 2" in complaint
    for mesh in nodes:
        mesh.close()


def complaint_of(mesh: Mesh, count: int) -> str:
    with pytest.raises(NodeFailure) as error:
        mesh.exchange(np.zeros(count))
    return str(error.value)


def test_a_peer_that_is_silent_is_named() -> None:
    nodes = meshes(2, timeout=0.2)
    for count in (1, 100_000):
        with pytest.raises(NodeFailure, match="node 1 is silent for too long"):
            nodes[0].exchange(np.zeros(count))
    for mesh in nodes:
        mesh.close()


def test_a_record_that_was_readable_becomes_private(tmp_path: Path) -> None:
    path = tmp_path / "record.bin"
    path.write_bytes(b"of before")
    path.chmod(0o644)
    with open_private(path) as file:
        file.write(b"now")
    assert (path.read_bytes(), path.stat().st_mode & 0o777) == (b"now", 0o600)
