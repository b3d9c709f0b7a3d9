"""Keys and certificates: who is let in, and under which name."""

from __future__ import annotations

import contextlib
import socket
import stat
import struct
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import secure_fl
from secure_fl.errors import ConfigError, InputError, NodeFailure
from secure_fl.mpc.handshakes import Reception, connect, listen
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.mpc.tls import Tls, make_keys, party_names
from secure_fl.mpc.transport import Channel
from secure_fl.nodes.dealer import meet as meet_nodes

TOKEN = b"t" * 32


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "keys"
    make_keys(folder, 2)
    return folder


def admit(server: socket.socket, tls: Tls | None, names: list[str], timeout: float) -> Channel:
    with Reception(server, TOKEN, tls) as reception:
        return reception.next({(name, 0) for name in names}, timeout)


def meet(server_end: Tls | None, client_end: Tls | None, name: str, peer: str) -> Channel:
    """Let one end call the other; what the answering end got."""
    with listen() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admit, server, server_end, party_names(2), 2.0)
        try:
            caller = connect(server.getsockname()[1], TOKEN, name, 2.0, peer, client_end)
        except NodeFailure:
            with pytest.raises(NodeFailure):
                waiting.result(timeout=10)
            raise
        try:
            channel = waiting.result(timeout=10)
            caller.send({"hello": 1}, b"payload")
            assert channel.receive() == ({"hello": 1}, bytearray(b"payload"))
            return channel
        finally:
            caller.close()


def test_files_are_private_complete_and_never_overwritten(keys: Path) -> None:
    names = {"authority.pem"}
    for name in party_names(2):
        names |= {f"{name.replace(' ', '-')}.pem", f"{name.replace(' ', '-')}.key"}
    assert {path.name for path in keys.iterdir()} == names
    assert "authority.key" not in names
    assert stat.S_IMODE(keys.stat().st_mode) == 0o700
    assert {stat.S_IMODE(path.stat().st_mode) for path in keys.iterdir()} == {0o600}
    with pytest.raises(InputError, match="exists"):
        make_keys(keys, 2)
    with pytest.raises(InputError, match="nodes must"):
        make_keys(keys.with_name("one"), 1)
    assert not keys.with_name("one").exists()


def test_holders_of_certificates_meet(keys: Path) -> None:
    channel = meet(Tls(keys, "node 1"), Tls(keys, "node 0"), "node 0", "node 1")
    assert channel.peer == "node 0"
    assert channel.socket.version() == "TLSv1.3"  # type: ignore[attr-defined]


def test_a_claimed_name_must_be_the_certified_one(keys: Path) -> None:
    with pytest.raises(NodeFailure, match="no connection within"):
        meet(Tls(keys, "node 1"), Tls(keys, "node 0"), "dealer", "node 1")


def test_the_called_party_must_be_the_one_meant(keys: Path) -> None:
    with pytest.raises(NodeFailure, match="no TLS connection to dealer"):
        meet(Tls(keys, "node 1"), Tls(keys, "node 0"), "node 0", "dealer")


def test_another_authority_is_refused(keys: Path, tmp_path: Path) -> None:
    make_keys(tmp_path / "other", 2)
    with pytest.raises(NodeFailure):
        meet(Tls(keys, "node 1"), Tls(tmp_path / "other", "node 0"), "node 0", "node 1")


def test_without_a_certificate_nobody_is_let_in(keys: Path) -> None:
    with listen() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(admit, server, Tls(keys, "node 1"), ["node 0"], 1.0)
        with socket.create_connection(server.getsockname()) as plain:
            plain.sendall(b"\0" * 64)
            with pytest.raises(NodeFailure, match="no connection within"):
                waiting.result(timeout=10)


@pytest.mark.parametrize("secured", [True, False])
def test_who_resets_before_being_answered_ends_nobodys_wait(keys: Path, secured: bool) -> None:
    with listen() as server:
        port = server.getsockname()[1]
        for said in (b"", b"hello"):
            stranger = socket.create_connection(("127.0.0.1", port))
            stranger.sendall(said)
            stranger.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            stranger.close()  # with a reset
        mine, theirs = (Tls(keys, name) if secured else None for name in ("dealer", "node 0"))
        with ThreadPoolExecutor(1) as pool:
            waiting = pool.submit(admit, server, mine, ["node 0"], 5.0)
            connect(port, TOKEN, "node 0", 5.0, "dealer", theirs).close()
            channel = waiting.result(timeout=10)
        assert channel.peer == "node 0"
        channel.close()


def test_the_dealer_takes_a_nodes_rank_from_its_certificate(keys: Path) -> None:
    """Node 1 says that it is node 0, in its hello or in its message: the dealer goes by neither."""
    nodes = ["node 0", "node 1"]
    with listen() as server, ThreadPoolExecutor(1) as pool:
        met = pool.submit(meet_nodes, server, TOKEN, 5.0, Tls(keys, "dealer"), nodes)
        port = server.getsockname()[1]
        opened = []
        for name, claim in (("node 1", "node 0"), ("node 1", "node 1"), ("node 0", "node 0")):
            end = Tls(keys, name)
            channel = connect(port, TOKEN, claim, 5.0, "dealer", end)
            opened.append(channel)
            refused = (
                contextlib.suppress(NodeFailure) if name != claim else contextlib.nullcontext()
            )
            with refused:  # hung up on, perhaps already
                channel.send({"rank": 0}, bytes([len(opened)]) * KEY_BYTES)
        streams, channels = met.result(timeout=10)
        assert [channel.peer for channel in channels] == nodes
        for stream, key in zip(streams, (3, 2), strict=True):
            expected = Stream(bytes([key]) * KEY_BYTES).ring(4)
            assert stream.ring(4).tolist() == expected.tolist()
        for channel in (*opened, *channels):
            channel.close()


def test_swapped_certificates_are_refused_at_the_door(tmp_path: Path) -> None:
    folder = tmp_path / "keys"
    make_keys(folder, 2)
    for kind in ("pem", "key"):
        one, other = folder / f"node-0.{kind}", folder / f"node-1.{kind}"
        kept = one.read_bytes()
        one.write_bytes(other.read_bytes())
        other.write_bytes(kept)
    with pytest.raises(
        InputError, match=r"node-0\.pem must be the certificate of node-0; got 'node-1'"
    ):
        secure_fl.open_backend("mpc", keys=folder)


def test_missing_keys_are_named(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="keys of authority cannot be read"):
        secure_fl.open_backend("mpc", keys=tmp_path / "nowhere")


def test_nodes_run_on_given_keys_and_refuse_a_foreign_one(tmp_path: Path) -> None:
    folder, other = tmp_path / "keys", tmp_path / "other"
    make_keys(folder, 2)
    make_keys(other, 2)
    x = [[1.0, 2.0], [3.0, -4.0], [5.0, 0.0]]
    with secure_fl.open_backend("mpc", keys=folder) as backend:
        assert secure_fl.aggregate(x, "median", backend).update.tolist() == [3.0, 0.0]
    for kind in ("pem", "key"):
        (folder / f"node-1.{kind}").write_bytes((other / f"node-1.{kind}").read_bytes())
    with pytest.raises(NodeFailure, match="ended before it connected"):
        secure_fl.open_backend("mpc", keys=folder, timeout=20)


def test_first_party_preprocessing_must_be_asked_for() -> None:
    with pytest.raises(ConfigError, match="insecure"):
        secure_fl.open_backend("mpc", preprocessing="first_party")
    x = [[1.0, 2.0], [3.0, -4.0], [5.0, 0.0]]
    options = {"preprocessing": "first_party", "insecure_preprocessing": True}
    with secure_fl.open_backend("mpc", **options) as backend:
        result = secure_fl.aggregate(x, "median", backend)
    assert result.update.tolist() == [3.0, 0.0]
    assert result.cost.bytes_offline == 0
