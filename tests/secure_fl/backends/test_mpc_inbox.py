"""Whom nodes with keys of their own let in, and with which keys they start."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import ledger
from ledger.members.keys import Signer
from ledger.members.keystore import PASSWORD_VARIABLE, write_key
from ledger.protocol.merkle import share_digest
from secure_fl.backends import shared as cluster_module
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.processes import Process, start
from secure_fl.backends.session import Backend
from secure_fl.errors import InputError, NodeFailure
from secure_fl.faults import Fault
from secure_fl.simulation.cheating_backend import CheatingBackend
from tests.support.signing import (
    CANDIDATE,
    DENIED,
    HOSPITALS,
    KEYS,
    D,
    N,
    X,
    opened,
    signer_of,
)


def test_a_coordinator_cannot_isolate_a_hospital(signing: Any) -> None:
    """It names fewer hospitals than each node's own minimum; nothing of theirs is opened."""
    for few in ([2], [2, 4]):
        session = opened(signing)
        submission = session.submit(X)
        some = {h: submission.commitments[h] for h in few}
        result = session.aggregate(submission, commitments=some)
        assert not result.update.any()
        assert result.accepted.tolist() == [h in few for h in range(N)]
        with pytest.raises(InputError, match="round must be above 1; got 1"):
            session._bring_receipts()
    everybody = opened(signing)
    assert everybody.aggregate(everybody.submit(X)).accepted.all()


def test_the_minimum_counts_those_whose_shares_opened_everywhere(signing: Any) -> None:
    number = DENIED + 1  # node 1 denies hospital 2's
    faults = [Fault(number, 0, "withheld_share", 0), Fault(number, 1, "wrong_share", 1)]
    session = opened(signing, *faults)
    session._round = number - 1
    submission = session.submit(X)
    session.check_shares(submission.commitments)
    result = session.aggregate(submission)
    assert int(result.accepted.sum()) == 2
    assert not result.update.any()


def test_a_session_of_fewer_hospitals_than_the_minimum_is_refused(signing: Any) -> None:
    with pytest.raises(InputError, match="hospitals must be at least 3; got 2"):
        signing.session("median", 2, D)
    with pytest.raises(InputError, match="minimum_hospitals must be at least 1; got 0"):
        open_backend("mpc", minimum_hospitals=0)


def test_a_round_is_combined_once_whoever_is_named_the_second_time(cluster: Backend) -> None:
    """The difference of two sums over almost the same hospitals would be one's update."""
    for keyed in (False, True):
        session: Any = cluster.session("mean", N, D, simulation_key=b"k" * 32 if keyed else None)
        submission = session.submit(X)
        session.aggregate(submission)
        fewer = {h: root for h, root in submission.commitments.items() if h != 3}
        with pytest.raises(InputError, match="round must be above 1, the last one combined; got 1"):
            session.aggregate(submission, commitments=fewer)
        session._round = 2  # a coordinator that lies about the round finds no shares
        result = session.aggregate(submission, commitments=fewer)
        assert result.accepted.tolist() == [False] * N
        assert result.update.tolist() == [0.0] * D


@pytest.mark.parametrize("salts", ["same salts", "other salts"])
def test_the_same_shares_in_another_session_are_refused_by_name(
    cluster: Backend, salts: str
) -> None:
    """Handed in again with one hospital less they would give its update by subtraction."""
    first: Any = cluster.session("mean", N, D, simulation_key=b"s" * 32)
    first.aggregate(first.submit(X))
    second: Any = cluster.session("mean", N, D, simulation_key=b"s" * 32)
    secrets = second.members[0]._sharing
    draw = secrets.draw
    if salts == "other salts":
        secrets.draw = lambda label, size: draw(label.replace("salt", "salt of"), size)
    submission = second.submit(X, present=[True, True, True, False, True])
    result = second.aggregate(submission)
    assert result.accepted.tolist() == [False] * N
    said = "node 0 took this share before"
    assert submission.refused == dict.fromkeys((0, 1, 2, 4), said)


def test_a_node_that_signs_opens_no_session_without_a_contract(signing: Any) -> None:
    """In one whoever carries shares could hand in what no hospital signed."""
    with pytest.raises(InputError, match="node 0 holds a ledger key: it opens no session without"):
        signing.session("mean", N, D)
    opened(signing).submit(X)


def test_checked_shares_are_used_once(signing: Any) -> None:
    session = opened(signing)
    submission = session.submit(X)
    session.check_shares(submission.commitments)
    session.aggregate(submission)
    with pytest.raises(InputError, match="must have its shares checked before, and used once"):
        session.aggregate(submission)
    with pytest.raises(InputError, match="round must be above 1"):
        session.check_shares(submission.commitments)
    session.contract, session._checked = None, False
    with pytest.raises(InputError, match="roots must be none where the node states"):
        session.aggregate(submission)


# --- keys --------------------------------------------------------------------------------------


def test_keys_travel_on_standard_input_alone(signing: Any) -> None:
    """No channel carries a node's key, no command line and no environment shows it."""
    received = b"".join(path.read_bytes() for path in signing.folder.glob("*.bin"))
    assert len(received) > 1000
    shown = b"".join(
        (Path("/proc") / str(pid) / name).read_bytes()
        for pid in signing.pids.values()
        for name in ("cmdline", "environ")
    )
    for key in (*KEYS, *HOSPITALS):
        for text in (key.secret, key.secret.hex().encode()):
            assert text not in received
            assert text not in shown


def test_a_node_reads_its_key_from_a_keystore(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    files = [tmp_path / f"node-{rank}.json" for rank in range(2)]
    for key, path in zip(KEYS, files, strict=True):
        write_key(key, path, f"secret words of {path.stem}", work_factor=2)
        own = f"{PASSWORD_VARIABLE}_{path.stem.upper().replace('-', '_')}"
        monkeypatch.setenv(own, f"secret words of {path.stem}")
    told = {}

    def watched(name: str, module: str, options: dict[str, Any]) -> Process:
        told[name] = json.dumps(options)
        return start(name, module, options)

    monkeypatch.setattr(cluster_module, "start", watched)
    with open_backend("mpc", timeout=60, signers=files) as backend:
        for name in ("dealer", "node 0", "node 1"):  # each its own password, and no other's
            words = [f"secret words of node-{rank}" in told[name] for rank in range(2)]
            assert words == [name == "node 0", name == "node 1"]
        session = opened(backend)
        findings = session.check_shares(session.submit(X).commitments)
        message = session.contract.messages.opened(1, bytes(32), range(N))
        signers = [signer_of(message, said.signature) for said in findings.opened]
        assert signers == [key.address for key in KEYS]


def test_a_wrong_password_ends_the_start_and_shows_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "node.json"
    write_key(KEYS[0], path, "secret words", work_factor=2)
    monkeypatch.setenv(PASSWORD_VARIABLE, "other words")
    with pytest.raises(NodeFailure, match=r"node \d stopped unexpectedly \(exit status 1\)"):
        open_backend("mpc", timeout=60, signers=[path, path])
    said = capfd.readouterr().err
    assert f"keystore file {path}: not a keystore file, or not its password" in said
    assert "other words" not in said
    assert json.loads(path.read_text())["crypto"]["ciphertext"] not in said


def test_nodes_without_keys_sign_nothing(cluster: Backend) -> None:
    with pytest.raises(InputError, match="the nodes hold no ledger keys"):
        opened(cluster)
    with pytest.raises(InputError, match=r"faults must be nodes', of denial, denial_without_rece"):
        CheatingBackend([Fault(1, 0, "wrong_share")])
    with pytest.raises(InputError, match="signers must be none or 2; got 1"):
        open_backend("mpc", signers=KEYS[:1])
    session: Any = cluster.session("median", N, D)
    submission = session.submit(X)
    assert session.check_shares(submission.commitments) is None
    assert session.sign_result(CANDIDATE, CANDIDATE) is None
    assert session.sign_closing(1, CANDIDATE, b"[]") is None


def test_no_signature_can_be_made_for_nodes_where_they_are_elsewhere() -> None:
    client = ledger.open_chain(3, seed=1)
    client.members = client.members.without_node_keys()
    client.open_round(1, bytes(31) + b"m")
    client.commit(1, {i: share_digest(bytes(32), bytes([i])) for i in range(3)})
    with pytest.raises(ledger.LedgerError, match="is held by another process"):
        client.record_aggregate(1, bytes(31) + b"r", [True] * 3)
    with pytest.raises(ledger.LedgerError, match="is held by another process"):
        client.attest_shares(1)
    assert isinstance(client.members.hospitals[0], Signer)
    assert np.all([node.address != bytes(20) for node in client.members.nodes])
