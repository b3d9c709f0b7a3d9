"""Nodes with keys of their own: what they sign, what they refuse to sign, whom they let in."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ledger
import secure_fl
from ledger.keys import Signer, recover, simulation_key
from ledger.keystore import PASSWORD_VARIABLE, write_key
from ledger.merkle import share_digest
from secure_fl.backends import open_backend
from secure_fl.errors import InputError, NodeFailure
from secure_fl.faults import Fault
from secure_fl.hashes import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.mpc import cluster as cluster_module
from secure_fl.mpc.processes import Process, start
from secure_fl.runfolder import canonical_json, sha256
from secure_fl.sessions import Backend
from secure_fl.statements import Ties
from tests.secure_fl.aggregation.oracles import case

N, D = 5, 6
X = case("plain", N, D, seed=8)[0]
KEYS = [simulation_key(9, "node", rank) for rank in range(2)]
HOSPITALS = tuple(simulation_key(9, "hospital", i) for i in range(N))
TIES = Ties(7, bytes(range(20)), HOSPITALS)
ELSEWHERE = replace(TIES, contract=bytes(20))
CANDIDATE = sha256(b"model")


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("transcripts")
    with open_backend(
        "mpc", timeout=60, signers=KEYS, minimum_hospitals=3, transcript=folder
    ) as backend:
        backend.folder = folder  # type: ignore[attr-defined]
        yield backend


def opened(backend: Backend, *faults: Fault, ties: Ties = TIES, rule: str = "median") -> Any:
    return backend.session(rule, N, D, simulation_key=b"k" * 32, ties=ties, faults=faults)


def signer_of(digest: bytes, signature: Any) -> bytes | None:
    return recover(digest, signature)


def combined(session: Any, number: int = 1) -> tuple[Any, str]:
    """One round as far as its result, and the result's hash."""
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    assert findings.accusations == findings.denials == ()
    result = session.aggregate(submission)
    accepted = verdicts_on_hospitals(result.accepted, range(N))
    digest = result_hash(number, accepted, openings(number, result), update_hash(result.update))
    return result, digest


# --- what nodes sign ---------------------------------------------------------------------------


def test_each_node_signs_its_own_finding_with_its_own_key(signing: Any) -> None:
    session = opened(signing)
    submission = session.submit(X)
    posted = sha256(b"root")
    findings = session.check_shares(submission.commitments, bytes.fromhex(posted))
    for rank, said in enumerate(findings.opened):
        assert (said.node, said.hospitals) == (rank, tuple(range(N)))
        message = TIES.messages.opened(1, bytes.fromhex(posted), range(N))
        assert signer_of(message, said.signature) == KEYS[rank].address
        other = ELSEWHERE.messages.opened(1, bytes.fromhex(posted), range(N))
        assert signer_of(other, said.signature) != KEYS[rank].address
    assert findings.refused == {}
    assert findings.cpu_ms > 0


def test_hospitals_hold_a_receipt_for_every_share(signing: Any) -> None:
    session = opened(signing)
    session.submit(X)
    assert len(session._receipts) == 2 * N
    for (hospital, node), receipt in session._receipts.items():
        leaf = session._sent[hospital, node].leaf
        message = TIES.messages.receipt(1, hospital, leaf)
        assert signer_of(message, receipt) == KEYS[node].address


def test_what_a_node_finds_it_says_before_it_hears_of_others(signing: Any) -> None:
    """A share that opens at one node alone: the nodes' statements differ."""
    session = opened(signing, Fault(1, 2, "withheld_share", 1))
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    assert [said.hospitals for said in findings.opened] == [(0, 1, 2, 3, 4), (0, 1, 3, 4)]
    assert findings.refused == {2: "node 1 has no share"}
    result = session.aggregate(submission)
    rest = [0, 1, 3, 4]
    assert torch.equal(result.update, secure_fl.aggregate(X[rest], "median", "fixed").update)


def test_a_result_is_signed_by_all_and_only_if_it_is_what_they_opened(signing: Any) -> None:
    session = opened(signing)
    _, digest = combined(session)
    for wrong in (sha256(b"other"), digest[:-1] + ("0" if digest[-1] != "0" else "1")):
        with pytest.raises(InputError, match=r"node 0 will not sign: result \w+ is not the hash"):
            session.sign_result(wrong, CANDIDATE)
    signed = session.sign_result(digest, CANDIDATE)
    message = TIES.messages.result(
        1, bytes.fromhex(digest), bytes.fromhex(CANDIDATE), list(range(N)), []
    )
    assert [signer_of(message, s) for s in signed.signatures] == [k.address for k in KEYS]
    with pytest.raises(InputError, match="round 1 has its result"):
        session.sign_result(digest, sha256(b"another model"))


def test_verdicts_and_openings_are_part_of_what_is_signed(signing: Any) -> None:
    """A coordinator that reports another verdict, or hides an opening, gets no signature."""
    session = opened(signing, rule="cosine_median")
    result, digest = combined(session)
    update = update_hash(result.update)
    accepted = verdicts_on_hospitals(result.accepted, range(N))
    rows = openings(1, result)
    flipped = [not accepted[0], *accepted[1:]]
    for wrong in (
        result_hash(1, flipped, rows, update),
        result_hash(1, [None, *accepted[1:]], rows, update),
        result_hash(1, accepted, rows[1:], update),
        result_hash(2, accepted, rows, update),
    ):
        assert wrong != digest
        with pytest.raises(InputError, match="will not sign"):
            session.sign_result(wrong, CANDIDATE)
    assert len(session.sign_result(digest, CANDIDATE).signatures) == 2


def test_nothing_combined_nothing_signed(signing: Any) -> None:
    session = opened(signing)
    session.submit(X)
    with pytest.raises(InputError, match="will not sign: it combined nothing in 1"):
        session.sign_result(sha256(b"result"), CANDIDATE)


def test_the_last_entry_is_signed_over_records_of_what_was_signed(signing: Any) -> None:
    session = opened(signing)
    _, digest = combined(session)
    session.sign_result(digest, CANDIDATE)
    first = {"round": 0}
    row = {"round": 1, "result_sha256": digest, "candidate_sha256": CANDIDATE}

    def records(*rows: dict[str, Any]) -> bytes:
        return canonical_json([list(rows), []]).encode()

    for wrong in (
        records(first),
        records(first, {**row, "result_sha256": CANDIDATE}),
        records(first, {**row, "candidate_sha256": digest}),
        records(first, row, {**row, "round": 2}),
    ):
        with pytest.raises(InputError, match=r"the records of round \d are not what it signed"):
            session.sign_closing(2, CANDIDATE, wrong)
    with pytest.raises(InputError, match="entry 1 is a round"):
        session.sign_closing(1, CANDIDATE, records(first, row))
    findings, signed = session.sign_closing(2, CANDIDATE, records(first, row))
    held = bytes.fromhex(sha256(records(first, row)))
    result = TIES.messages.result(2, held, bytes.fromhex(CANDIDATE), [], [])
    nothing = TIES.messages.opened(2, bytes(32), ())
    assert [signer_of(result, s) for s in signed.signatures] == [k.address for k in KEYS]
    assert [signer_of(nothing, s.signature) for s in findings.opened] == [k.address for k in KEYS]


def test_a_share_under_another_hospitals_signature_is_not_received(signing: Any) -> None:
    """Who delivers must sign with the key that the contract knows."""
    mixed = replace(TIES, hospitals=(HOSPITALS[1], *HOSPITALS[1:]))
    session = opened(signing)
    session._ties = mixed  # hospital 0 signs with hospital 1's key; the nodes know both addresses
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    assert [said.hospitals for said in findings.opened] == [(1, 2, 3, 4)] * 2
    assert findings.refused[0] == "node 0: the hospital did not sign what it delivered"
    assert findings.accusations == findings.denials == ()


# --- evidence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [0, 1])
def test_evidence_against_a_hospital_holds_its_own_signatures(signing: Any, node: int) -> None:
    session = opened(signing, Fault(1, 3, "wrong_share", node))
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    (piece,) = findings.accusations
    assert findings.denials == ()
    assert (piece.hospital, piece.node) == (3, node)
    delivery = TIES.messages.delivery(1, node, piece.delivered)
    assert signer_of(delivery, piece.delivery) == HOSPITALS[3].address
    accusation = TIES.messages.accusation(1, 3, node, piece.delivered)
    assert signer_of(accusation, piece.accusation) == KEYS[node].address
    assert piece.leaf == session._sent[3, node].leaf != piece.delivered


def test_a_node_that_denies_has_the_share_and_must_count_it_if_ruled(signing: Any) -> None:
    fault = Fault(1, 3, "denial", 1)
    for ruled, players in (([], [0, 1, 2, 4]), ([(3, 1)], list(range(N)))):
        session = opened(signing, fault)
        submission = session.submit(X)
        findings = session.check_shares(submission.commitments)
        (piece,) = findings.denials
        assert (piece.hospital, piece.node) == (3, 1)
        receipt = TIES.messages.receipt(1, 3, piece.leaf)
        assert signer_of(receipt, piece.receipt) == KEYS[1].address
        result = session.aggregate(submission, ruled=ruled)
        clear = secure_fl.aggregate(X[players], "median", "fixed")
        assert torch.equal(result.update, clear.update)
        assert result.accepted.tolist() == [h in players for h in range(N)]


def test_a_ruling_brings_no_share_back_that_did_not_open(signing: Any) -> None:
    session = opened(signing, Fault(1, 3, "wrong_share", 1))
    submission = session.submit(X)
    session.check_shares(submission.commitments)
    result = session.aggregate(submission, ruled=[(3, 0), (3, 1)])
    assert result.accepted.tolist() == [True, True, True, False, True]


# --- the node's door ---------------------------------------------------------------------------


def test_a_coordinator_cannot_isolate_a_hospital(signing: Any) -> None:
    """It names fewer hospitals than each node's own minimum; nothing of theirs is opened."""
    for few in ([2], [2, 4]):
        session = opened(signing)
        submission = session.submit(X)
        some = {h: submission.commitments[h] for h in few}
        result = session.aggregate(submission, commitments=some)
        assert not result.update.any()
        assert result.accepted.tolist() == [h in few for h in range(N)]
        with pytest.raises(InputError, match="above 1, the last one combined; got 1"):
            session.aggregate(submission)
    everybody = opened(signing)
    assert everybody.aggregate(everybody.submit(X)).accepted.all()


def test_the_minimum_counts_those_whose_shares_opened_everywhere(signing: Any) -> None:
    faults = [Fault(1, 0, "withheld_share", 0), Fault(1, 1, "wrong_share", 1)]
    session = opened(signing, *faults, Fault(1, 2, "denial", 1))
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


def test_checked_shares_are_used_once(signing: Any) -> None:
    session = opened(signing)
    submission = session.submit(X)
    session.check_shares(submission.commitments)
    session.aggregate(submission)
    with pytest.raises(InputError, match="must have its shares checked before, and used once"):
        session.aggregate(submission)
    with pytest.raises(InputError, match="round must be above 1"):
        session.check_shares(submission.commitments)


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
        message = TIES.messages.opened(1, bytes(32), range(N))
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


def test_nodes_without_keys_sign_nothing(cluster: Backend, signing: Any) -> None:
    with pytest.raises(InputError, match="the nodes hold no ledger keys"):
        opened(cluster)
    with pytest.raises(InputError, match="faults must be empty without a contract"):
        cluster.session("median", N, D, faults=[Fault(1, 0, "denial")])
    with pytest.raises(InputError, match="signers must be none or 2; got 1"):
        open_backend("mpc", signers=KEYS[:1])
    for session in (cluster.session("median", N, D), signing.session("median", N, D)):
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
