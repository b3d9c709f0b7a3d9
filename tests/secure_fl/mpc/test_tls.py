"""Keys and certificates: who is let in, and under which name."""

from __future__ import annotations

import socket
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import secure_fl
from secure_fl.errors import ConfigError, InputError, NodeFailure
from secure_fl.mpc.tls import Tls, make_keys, party_names
from secure_fl.mpc.transport import Channel, accept, connect, listen

TOKEN = b"t" * 32


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tls") / "keys"
    make_keys(folder, 2)
    return folder


def meet(server_end: Tls | None, client_end: Tls | None, name: str, peer: str) -> Channel:
    """Let one end call the other; what the answering end got."""
    with listen() as server, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(accept, server, TOKEN, 2.0, server_end)
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
        waiting = pool.submit(accept, server, TOKEN, 1.0, Tls(keys, "node 1"))
        with socket.create_connection(server.getsockname()) as plain:
            plain.sendall(b"\0" * 64)
            with pytest.raises(NodeFailure, match="no connection within"):
                waiting.result(timeout=10)


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
