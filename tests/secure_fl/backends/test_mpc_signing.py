"""Nodes with keys of their own: what they sign, and what they refuse to sign."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch

import secure_fl
from ledger.protocol.roles import HospitalKey
from secure_fl.backends.aggregate import open_backend
from secure_fl.errors import InputError
from secure_fl.faults import Fault
from secure_fl.files import canonical_json, sha256
from secure_fl.nodes.result_hash import openings, result_hash, update_hash, verdicts_on_hospitals
from tests.support.signing import (
    CANDIDATE,
    CHEATING,
    CONTRACT,
    DENIED,
    ELSEWHERE,
    HOSPITALS,
    KEYS,
    D,
    N,
    X,
    combined,
    opened,
    processes_of,
    signer_of,
)

# --- what nodes sign ---------------------------------------------------------------------------


def test_each_node_signs_its_own_finding_with_its_own_key(signing: Any) -> None:
    session = opened(signing)
    submission = session.submit(X)
    posted = sha256(b"root")
    findings = session.check_shares(submission.commitments, bytes.fromhex(posted))
    for rank, said in enumerate(findings.opened):
        assert (said.node, said.hospitals) == (rank, tuple(range(N)))
        message = session.contract.messages.opened(1, bytes.fromhex(posted), range(N))
        assert signer_of(message, said.signature) == KEYS[rank].address
        other = ELSEWHERE.messages.opened(1, bytes.fromhex(posted), range(N))
        assert signer_of(other, said.signature) != KEYS[rank].address
    assert findings.refused == {}
    assert findings.cpu_ms > 0


def test_hospitals_hold_a_receipt_for_every_share(signing: Any) -> None:
    session = opened(signing)
    submission = session.submit(X)
    for hospital in session.members:
        assert sorted(hospital.receipts) == [0, 1]
        for node, receipt in hospital.receipts.items():
            root = submission.commitments[hospital.number]
            message = session.contract.messages.receipt(
                1, hospital.number, hospital._sent[node], root
            )
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
    message = session.contract.messages.result(
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
    result = session.contract.messages.result(2, held, bytes.fromhex(CANDIDATE), [], [])
    nothing = session.contract.messages.opened(2, bytes(32), ())
    assert [signer_of(result, s) for s in signed.signatures] == [k.address for k in KEYS]
    assert [signer_of(nothing, s.signature) for s in findings.opened] == [k.address for k in KEYS]


def test_a_share_under_another_hospitals_signature_is_not_received(signing: Any) -> None:
    """Who delivers must sign with the key that the contract knows."""
    session = opened(signing)
    key = HospitalKey(0, HOSPITALS[1], session.contract.messages)
    session.members[0]._key = key  # whose address the nodes know too
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    assert [said.hospitals for said in findings.opened] == [(1, 2, 3, 4)] * 2
    assert findings.refused[0] == "node 0: the hospital did not sign what it delivered"
    assert findings.wrong_shares == findings.denials == ()


# --- evidence ----------------------------------------------------------------------------------


@pytest.mark.parametrize("node", [0, 1])
def test_evidence_against_a_hospital_holds_its_own_signatures(signing: Any, node: int) -> None:
    session = opened(signing, Fault(1, 3, "wrong_share", node))
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    (piece,) = findings.wrong_shares
    assert findings.denials == ()
    assert (piece.hospital, piece.node) == (3, node)
    delivery = session.contract.messages.delivery(1, node, piece.digest, piece.root)
    assert signer_of(delivery, piece.delivery) == HOSPITALS[3].address
    assert piece.root != submission.commitments[3]
    # The node holds what opened that root and says so; the hospital signed two.
    assert [said.hospitals for said in findings.opened] == [tuple(range(N))] * 2


def test_a_node_that_denies_has_the_share_and_must_count_it_if_ruled(signing: Any) -> None:
    for ruled, players in (([], [0, 1, 2, 4]), ([(3, 1)], list(range(N)))):
        session = opened(signing)
        session._round = DENIED - 1
        submission = session.submit(X)
        findings = session.check_shares(submission.commitments)
        (piece,) = findings.denials
        assert (piece.hospital, piece.node) == (3, 1)
        root = submission.commitments[3]
        receipt = session.contract.messages.receipt(DENIED, 3, piece.digest, root)
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


@pytest.mark.parametrize("kind", ["useless_proof", "short_share", "unsigned_share"])
def test_what_does_not_open_its_root_is_not_received(signing: Any, kind: str) -> None:
    """No receipt, no evidence: the hospital is out by name, and nobody can be convicted."""
    session = opened(signing, Fault(1, 3, kind, 1))
    submission = session.submit(X)
    assert list(session.members[3].receipts) == [0]
    findings = session.check_shares(submission.commitments)
    assert findings.wrong_shares == findings.denials == ()
    assert [said.hospitals for said in findings.opened] == [(0, 1, 2, 3, 4), (0, 1, 2, 4)]
    why = {
        "useless_proof": "the share does not open its commitment",
        "short_share": "a share must be 24 bytes; got 20",
        "unsigned_share": "the hospital did not sign what it delivered",
    }
    assert findings.refused == {3: f"node 1: {why[kind]}"}
    assert session.aggregate(submission).accepted.tolist() == [True, True, True, False, True]


def test_wrong_roots_from_the_coordinator_convict_nobody(signing: Any) -> None:
    """A node states what it gave receipts for; whom the coordinator misnames is out by name."""
    session = opened(signing)
    submission = session.submit(X)
    told = {**submission.commitments, 2: bytes(31) + b"x"}
    findings = session.check_shares(told)
    assert [said.hospitals for said in findings.opened] == [tuple(range(N))] * 2
    assert findings.denials == ()
    assert findings.refused[2] == "node 0: delivered under another root than is committed to"
    # What the nodes hand over is the hospital's own signature on the root that it did commit to.
    assert {piece.root for piece in findings.wrong_shares} == {submission.commitments[2]}
    result = session.aggregate(submission)
    assert result.accepted.tolist() == [True, True, False, True, True]


HASHES = {"result": CANDIDATE, "candidate": CANDIDATE}
NO_RECORDS = [b"x", b"\xff", b"3", b"[]", b"[1, 2]", b"[[1], []]", b'[[{"round": "x"}], []]']


@pytest.mark.parametrize(
    ("command", "fields", "field", "values"),
    [
        ("receipts", {}, "round", ["x", 0, None, [1], 2**53]),
        ("check", {"roots": {}, "posted_root": CANDIDATE}, "round", ["x", 0, None, 1.0]),
        ("check", {"round": 1, "posted_root": CANDIDATE}, "roots", [[1], {"0": "zz"}, {"a": "00"}]),
        ("check", {"round": 1, "roots": {}}, "posted_root", ["zz", 7, None, "00", "é" * 64]),
        ("sign", HASHES, "round", ["x", 0, -1, None, [1]]),
        ("sign", {"round": 1, "candidate": CANDIDATE}, "result", ["x", 7, None, "00"]),
        ("sign", {"round": 1, "result": CANDIDATE}, "candidate", ["x", 7, None, "00"]),
    ],
)
def test_messages_without_sense_are_not_signed_for(
    signing: Any, command: str, fields: dict[str, Any], field: str, values: list[Any]
) -> None:
    """They are answered, and the round under way can be signed for."""
    session = opened(signing)
    message = {"do": command, "session": session._number, **fields}
    for value in values:
        with pytest.raises(InputError, match=f"{field} must be .*; got "):
            signing.ask({**message, field: value})
    with pytest.raises(InputError, match=f"a message '{command}' must have '{field}'"):
        signing.ask(message)
    _, digest = combined(session)
    assert len(session.sign_result(digest, CANDIDATE).signatures) == 2


def test_records_that_are_none_are_not_signed_for(signing: Any) -> None:
    session = opened(signing)
    _, digest = combined(session)
    session.sign_result(digest, CANDIDATE)
    for records in NO_RECORDS:
        with pytest.raises(InputError, match=r"(records|round 1) must be .*; got "):
            session.sign_closing(2, CANDIDATE, records)
    row = {"round": 1, "result_sha256": digest, "candidate_sha256": CANDIDATE}
    other = {**row, "candidate_sha256": digest}
    with pytest.raises(InputError, match="rounds of the records must be distinct; got 1"):
        session.sign_closing(2, CANDIDATE, canonical_json([[other, row], []]).encode())
    session.sign_closing(2, CANDIDATE, canonical_json([[row], []]).encode())


def test_no_message_makes_a_node_cheat(signing: Any) -> None:
    session = opened(signing)
    message = {"do": "open", "session": session._number, "rule": session.rule.to_config()}
    sizes = {"hospitals": N, "dim": D, "ties": session.contract.to_json()}
    signing.ask({**message, **sizes, "faults": [[1, 3, "denial"]]})
    findings = session.check_shares(session.submit(X).commitments)
    assert [said.hospitals for said in findings.opened] == [tuple(range(N))] * 2
    (cheat,) = (process for process in processes_of(signing) if CHEATING in process)
    assert "secure_fl.nodes.node" not in cheat  # another program, from its start


def test_a_round_of_a_contract_is_signed_for_once_whatever_the_session(signing: Any) -> None:
    session = opened(signing)
    _, digest = combined(session)
    session.sign_result(digest, CANDIDATE)
    again = opened(signing, contract=session.contract)
    taken = r"node 0 will not sign: round 1 of the contract 0x\w+ on chain 7 was taken before"
    with pytest.raises(InputError, match=taken):
        again.submit(X[:, :D])
    with pytest.raises(InputError, match="will not sign: it took no shares in 1"):
        again.check_shares({})
    with pytest.raises(InputError, match=taken):
        again.sign_closing(1, CANDIDATE, canonical_json([[], []]).encode())
    # And an entry that was closed takes no shares.
    closed = opened(signing)
    closed.sign_closing(1, CANDIDATE, canonical_json([[], []]).encode())
    with pytest.raises(InputError, match="was taken before"):
        closed.submit(X)


def test_a_hospital_signs_one_root_a_round(signing: Any) -> None:
    session = opened(signing)
    session.submit(X)
    with pytest.raises(InputError, match="hospital 0 has signed another root for round 1"):
        opened(signing, hospitals=session.members).submit(X)


def test_a_node_remembers_over_its_end(tmp_path: Path) -> None:
    """Started again in the same folder it takes neither the round nor the shares again."""
    state, key = tmp_path / "state", b"k" * 32
    for again in (False, True):
        with open_backend("mpc", timeout=60, state=state) as backend:
            untied: Any = backend.session("mean", N, D, simulation_key=key)
            accepted = untied.aggregate(untied.submit(X)).accepted.tolist()
            assert accepted == [not again] * N
        with open_backend("mpc", timeout=60, signers=KEYS, state=state) as backend:
            session = opened(backend, contract=CONTRACT)
            if again:
                with pytest.raises(InputError, match="round 1 of the contract 0x"):
                    session.submit(X)
            else:
                combined(session)
