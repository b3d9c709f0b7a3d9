"""Nodes with keys of their own: what they sign, what they refuse to sign, whom they let in."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import ledger
import secure_fl
from ledger.members.keys import Signer, recover, simulation_key
from ledger.members.keystore import PASSWORD_VARIABLE, write_key
from ledger.protocol.merkle import share_digest
from ledger.protocol.roles import HospitalKey
from secure_fl.backends import shared as cluster_module
from secure_fl.backends.aggregate import open_backend
from secure_fl.backends.processes import Process, start
from secure_fl.backends.session import Backend
from secure_fl.data import Split
from secure_fl.errors import InputError, NodeFailure
from secure_fl.faults import Fault
from secure_fl.files import canonical_json, sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.nodes.contract import Contract
from secure_fl.nodes.result_hash import openings, result_hash, update_hash, verdicts_on_hospitals
from secure_fl.simulation.cheating_backend import CheatingBackend
from secure_fl.simulation.parties import make_hospitals
from tests.support.oracles import case

N, D = 5, 6
X = case("plain", N, D, seed=8)[0]
KEYS = [simulation_key(9, "node", rank) for rank in range(2)]
HOSPITALS = tuple(simulation_key(9, "hospital", i) for i in range(N))
CONTRACT = Contract(7, bytes(range(20)), tuple(key.address for key in HOSPITALS))
ELSEWHERE = CONTRACT._replace(address=bytes(20))
ROWS = Split(torch.zeros(1, 1), torch.zeros(1, dtype=torch.int64))
CANDIDATE = sha256(b"model")
CONTRACTS = count()
# Rounds in which node 1 denies a share: it was told at its start.
DENIED = 7
CHEATING = "secure_fl.simulation.cheating_node"


@pytest.fixture(scope="module")
def signing(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("transcripts")
    with CheatingBackend(
        (Fault(DENIED, 3, "denial", 1), Fault(DENIED + 1, 2, "denial", 1)),
        timeout=60,
        signers=KEYS,
        minimum_hospitals=3,
        transcript=folder,
    ) as backend:
        backend.folder = folder  # type: ignore[attr-defined]
        yield backend


def hospitals_of(contract: Contract, faults: Sequence[Fault] = ()) -> tuple[Hospital, ...]:
    return make_hospitals([ROWS] * N, None, contract, HOSPITALS, faults)


def opened(
    backend: Backend,
    *faults: Fault,
    contract: Contract | None = None,
    hospitals: Sequence[Hospital] | None = None,
    rule: str = "median",
) -> Any:
    """A session for a contract of its own: a node takes a round of a contract once."""
    address = bytes.fromhex(sha256(str(next(CONTRACTS)).encode())[:40])
    contract = contract or CONTRACT._replace(address=address)
    return backend.session(rule, hospitals or hospitals_of(contract, faults), D)


def processes_of(backend: Any) -> list[str]:
    """Command lines of all processes."""
    place = Path("/proc")
    return [(place / str(pid) / "cmdline").read_text() for pid in backend.pids.values()]


def signer_of(digest: bytes, signature: Any) -> bytes | None:
    return recover(digest, signature)


def combined(session: Any, number: int = 1) -> tuple[Any, str]:
    """One round as far as its result, and the result's hash."""
    submission = session.submit(X)
    findings = session.check_shares(submission.commitments)
    assert findings.wrong_shares == findings.denials == ()
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
NO_RECORDS += [b'[[{"round": 1}], []]', b'[[{"round": Infinity}], []]', 65 * b"[" + 65 * b"]"]


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
