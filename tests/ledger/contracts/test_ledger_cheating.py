"""A cheating hospital, a cheating node and a cheating coordinator, in both ways to commit.

After each story the chain file must pass the audit: a fault that the contract dealt with is part of
the history, and the report tells it.
"""

import dataclasses
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import ledger
from ledger.audit.chain_file import audit
from ledger.audit.report import render
from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import Signer, simulation_key
from ledger.members.members import COORDINATOR, NODE
from ledger.protocol.commitments import SignedCommitment, pack, posted_proof, posted_root
from ledger.protocol.contract import Event
from ledger.protocol.typed_data import to_words
from tests.ledger.conftest import (
    CANDIDATE,
    GOOD,
    HOSPITALS,
    MODEL,
    RESULT,
    digest,
    play_round,
    rolled_back,
    roots,
    small_chain,
)
from tests.ledger.contracts.refusals import pass_time

BYSTANDER = simulation_key(50, "bystander", 0)


@pytest.fixture(scope="module", params=["each", "merkle"])
def _module_chain(request: pytest.FixtureRequest) -> Consortium:
    client = small_chain(seed=21, mode=request.param, funded=(BYSTANDER.address,))
    play_round(client, 1)
    return client


@pytest.fixture
def either(_module_chain: Consortium) -> Iterator[Consortium]:
    """A consortium after one good round, committing one way or the other."""
    with rolled_back(_module_chain) as client:
        yield client


@pytest.fixture
def merkle_mode(either: Consortium) -> Consortium:
    if either.mode != "merkle":
        pytest.skip("no posted root in this mode")
    return either


def commit_all(client: Consortium, round_number: int = 2) -> None:
    client.open_round(round_number, client.model_hash)
    client.commit(round_number, roots(round_number))


def finish(client: Consortium, accepted: list[bool | None]) -> ledger.RoundOutcome:
    client.record_aggregate(2, RESULT, accepted, CANDIDATE)
    client.attest(2, GOOD, CANDIDATE)
    return client.finalize(2)


def reveal(client: Consortium, hospital: int) -> None:
    """In the mode with a root, the contract must first be shown the commitment."""
    if client.mode == "merkle":
        client.reveal_commitment(2, hospital)


def told(client: Consortium, folder: Path) -> str:
    """The audit's report, which must pass."""
    client.export(folder / "chain.jsonl")
    report = audit(folder / "chain.jsonl")
    assert report.faults == []
    return render(report)


def show_delivery(
    client: Consortium, root: bytes, sender: Signer | None = None
) -> list[list[Event]]:
    """Somebody shows what hospital 0 signed with the share that it delivered to node 1."""
    said = (digest("share"), root)
    delivery = client.members.hospitals[0].sign(client.connection.messages.delivery(2, 1, *said))
    return client.connection.send([("dispute_share", (2, 0, 1, *said, pair(delivery)))], sender)


def shares_disputed(events: list[list[Event]]) -> list[bool]:
    """Whether the hospital is at fault, for each dispute among the events."""
    return [e.args["hospital_at_fault"] for (e,) in events if e.name == "ShareDisputed"]


# ---- a cheating hospital ----


@pytest.mark.parametrize("carrier", [None, BYSTANDER])
def test_a_hospital_that_sends_another_share_is_at_fault(
    either: Consortium, carrier: Signer | None, tmp_path: Path
) -> None:
    """Under another root than it committed to: it signed both."""
    commit_all(either)
    either.attest_shares(2)
    reveal(either, 0)
    assert shares_disputed(show_delivery(either, digest("another tree"), carrier)) == [True]
    # Rejected although the nodes' verdict is silent on it.
    assert finish(either, [None, True, True, True]).reputations == [0.5, 1.0, 1.0, 1.0]
    assert either.connection.read("fault_count", NODE, 1) == 0
    text = told(either, tmp_path)
    assert "node 1 disputed the share of hospital 0: hospital 0 is at fault" in text


def test_a_hospital_cannot_use_the_commitment_of_another_round(either: Consortium) -> None:
    either.open_round(2, either.model_hash)
    stale = [either.sign_commitment(0, 1, MODEL, roots(1)[0])]
    pass_time(either)
    if either.mode == "each":
        with pytest.raises(ledger.Reverted, match="not signed by the hospital"):
            either.submit_commitments(2, stale)
    else:
        either.post_commitments(2, stale)
        either.reveal_commitment(2, 0)
        assert either.connection.read("fault_count", COORDINATOR, 0) == 1


# ---- a cheating node ----


def test_nobody_can_accuse_falsely(either: Consortium, tmp_path: Path) -> None:
    """The evidence is the hospital's own signature; one that agrees proves nothing on anybody."""
    commit_all(either)
    either.attest_shares(2)
    reveal(either, 0)
    with pytest.raises(ledger.Reverted, match="delivered as committed"):
        show_delivery(either, roots(2)[0])
    assert finish(either, [True] * 4).reputations == [1.0] * 4
    assert either.connection.read("fault_count", NODE, 1) == 0
    told(either, tmp_path)


def test_a_node_that_denies_what_it_signed_for_is_at_fault(
    either: Consortium, tmp_path: Path
) -> None:
    commit_all(either)
    either.attest_shares(2, [[0, 1, 2, 3], [0, 1, 3]])
    with pytest.raises(ledger.Reverted, match="verdict on unopened share"):
        either.record_aggregate(2, RESULT, [True] * 4, CANDIDATE)
    reveal(either, 2)
    message = either.connection.messages.receipt(2, 2, digest("share"), roots(2)[2])
    receipt = pair(either.members.nodes[1].sign(message))
    # Carried by somebody who is no member: the coordinator cannot suppress it.
    args = (2, 2, 1, digest("share"), receipt)
    events = either.connection.send([("dispute_denial", args)], BYSTANDER)
    assert shares_disputed(events) == [False]
    # What the node denied counts as opened, and needs a verdict.
    with pytest.raises(ledger.Reverted, match="no verdict on opened share"):
        either.record_aggregate(2, RESULT, [True, True, None, True], CANDIDATE)
    assert finish(either, [True] * 4).status == "accepted"
    assert either.connection.read("fault_count", NODE, 1) == 1
    assert "disputed the share of hospital 2: node 1 is at fault" in told(either, tmp_path)


def test_a_receipt_for_another_root_than_the_committed_one_binds_nobody(
    either: Consortium,
) -> None:
    """A hospital that delivers one thing and commits to another gains nothing by the receipt."""
    commit_all(either)
    either.attest_shares(2, [[0, 1, 2, 3], [0, 1, 3]])
    reveal(either, 2)
    message = either.connection.messages.receipt(2, 2, digest("share"), digest("another tree"))
    receipt = pair(either.members.nodes[1].sign(message))
    with pytest.raises(ledger.Reverted, match="receipt not signed"):
        either.connection.send([("dispute_denial", (2, 2, 1, digest("share"), receipt))])


def test_a_denial_without_evidence_excludes_and_costs_nobody_anything(
    either: Consortium, tmp_path: Path
) -> None:
    commit_all(either)
    either.attest_shares(2, [[0, 1, 2, 3], [0, 1, 3]])
    for verdict in (True, False):
        with pytest.raises(ledger.Reverted, match="verdict on unopened share"):
            either.record_aggregate(2, RESULT, [True, True, verdict, True], CANDIDATE)
    before = either.reputations()
    assert finish(either, [True, True, None, True]).reputations[2] == before[2]
    assert "node 1 attests that shares did not open: hospitals 2" in told(either, tmp_path)


# ---- a cheating coordinator: it omits, replaces, replays ----


def honest(client: Consortium, round_number: int = 2) -> list[SignedCommitment]:
    model = client.model_hash
    return [
        client.sign_commitment(i, round_number, model, roots(round_number)[i])
        for i in range(HOSPITALS)
    ]


def test_a_hospital_left_out_may_commit_by_itself(either: Consortium, tmp_path: Path) -> None:
    """While commitments are awaited, in either mode, without the coordinator; whose own batch or
    tree goes through with or without it."""
    either.open_round(2, either.model_hash)
    signed = honest(either)
    either.connection.send([("commit_batch", (2, [signed[3].words()], False))], BYSTANDER)
    if either.mode == "each":
        either.submit_commitments(2, signed)
    else:
        either.post_commitments(2, signed)
    assert set(either.committed()) == {0, 1, 2, 3}
    assert either.commitments(2) == {c.hospital: c.root for c in signed}
    assert finish(either, [True] * 4).status == "accepted"
    told(either, tmp_path)


def close_with(client: Consortium, signed: list[SignedCommitment]) -> None:
    """The coordinator closes as soon as the contract lets it."""
    pass_time(client)
    if client.mode == "each":
        client.submit_commitments(2, signed)
    else:
        client.post_commitments(2, signed)


def test_a_commitment_left_out_is_put_in(either: Consortium, tmp_path: Path) -> None:
    """In both modes, in the blocks after the closing; the nodes then attest on all."""
    either.open_round(2, either.model_hash)
    signed = honest(either)
    with pytest.raises(ledger.Reverted, match="commitments may still come"):
        either.submit_commitments(2, signed[:3])
    close_with(either, signed[:3])
    # Not before hospital 3 had its time can the nodes attest, and the round go on.
    words = [said.words() for said in either.statements(2)]
    with pytest.raises(ledger.Reverted, match="claims may still come"):
        either.connection.send([("attest_shares", (2, words))])
    either.claim_commitment(2, signed[3], BYSTANDER)
    assert either.commitments(2) == {c.hospital: c.root for c in signed}
    with pytest.raises(ledger.Reverted, match="no verdict on opened share"):
        either.record_aggregate(2, RESULT, [True, True, True, None], CANDIDATE)
    assert finish(either, [True] * 4).status == "accepted"
    assert "left out by the coordinator, put in by claim: hospital 3" in told(either, tmp_path)


@pytest.mark.parametrize("attested", [1, 2])
@pytest.mark.parametrize("delivered", [False, True])
def test_who_claims_after_a_node_attested_is_out_and_stops_nobody(
    either: Consortium, tmp_path: Path, attested: int, delivered: bool
) -> None:
    """Hospital 3 does not commit, perhaps with receipts of both nodes, and claims when one node or
    both have attested. What they state of it counts for nothing."""
    either.open_round(2, either.model_hash)
    signed = honest(either)
    pass_time(either)
    close_with(either, signed[:3])
    pass_time(either)
    opened = [[0, 1, 2, 3] if delivered else [0, 1, 2]] * 2
    statements = [said.words() for said in either.statements(2, opened)]
    either.connection.send([("attest_shares", (2, statements[:attested]))])
    with pytest.raises(ledger.Reverted, match="late claim"):
        either.claim_commitment(2, signed[3], BYSTANDER)
    either.connection.send([("attest_shares", (2, statements))])
    assert either.commitments(2) == {c.hospital: c.root for c in signed[:3]}
    outcome = finish(either, [True, True, True, None])
    assert (outcome.status, outcome.reputations) == ("accepted", [1.0] * 4)
    assert "put in by claim" not in told(either, tmp_path)


def test_a_claim_stands_against_what_the_coordinator_posted(
    merkle_mode: Consortium, tmp_path: Path
) -> None:
    """A tree that names a hospital with another root than it signed keeps nobody out."""
    merkle_mode.open_round(2, merkle_mode.model_hash)
    signed = honest(merkle_mode)
    close_with(merkle_mode, replaced(signed, merkle_mode))
    merkle_mode.claim_commitment(2, signed[1], BYSTANDER)
    assert merkle_mode.commitments(2) == {c.hospital: c.root for c in signed}
    assert finish(merkle_mode, [True] * 4).status == "accepted"
    told(merkle_mode, tmp_path)


def test_leaving_out_an_attestation_changes_nothing(either: Consortium, tmp_path: Path) -> None:
    """Two of three validators are the quorum, and their median alone would be abnormal."""
    commit_all(either)
    either.record_aggregate(2, RESULT, [True] * 4, CANDIDATE)
    low, high = (0.6, 0.5, 0.7), (0.9, 0.5, 0.7)
    either.attest(2, [low, high, None], CANDIDATE)
    with pytest.raises(ledger.Reverted, match="attestations may still come"):
        either.connection.send([("finalize", (2,))])
    with pytest.raises(ledger.Reverted, match="the outcome stands"):
        either.abandon_round(2)
    signed = either.sign_attestation(2, 2, CANDIDATE, *high)
    entry = (2, signed.accuracy, signed.loss, signed.f1, *pair(signed.signature))
    either.connection.send([("attest_batch", (2, [entry]))], BYSTANDER)
    assert either.finalize(2).status == "accepted"
    told(either, tmp_path)


def replaced(signed: list[SignedCommitment], client: Consortium) -> list[SignedCommitment]:
    """Another root under hospital 1's signature."""
    return [signed[0], dataclasses.replace(signed[1], root=digest("mine")), *signed[2:]]


def replayed(signed: list[SignedCommitment], client: Consortium) -> list[SignedCommitment]:
    """What hospital 1 signed in the round before."""
    return [signed[0], client.sign_commitment(1, 1, MODEL, roots(1)[1]), *signed[2:]]


def transferred(signed: list[SignedCommitment], client: Consortium) -> list[SignedCommitment]:
    """Hospital 0's commitment in hospital 1's place."""
    return [signed[0], dataclasses.replace(signed[0], hospital=1), *signed[2:]]


@pytest.mark.parametrize("forge", [replaced, replayed, transferred])
def test_a_forged_commitment_never_counts(
    either: Consortium,
    forge: Callable[[list[SignedCommitment], Consortium], list[SignedCommitment]],
    tmp_path: Path,
) -> None:
    before = either.reputations()
    model = either.model_hash
    either.open_round(2, model)
    forged = forge(honest(either), either)
    pass_time(either)
    if either.mode == "each":
        with pytest.raises(ledger.Reverted, match="not signed by the hospital"):
            either.submit_commitments(2, forged)
        assert either.committed() == []
        return
    either.post_commitments(2, forged)
    # Revealing an honest commitment beside it blames nobody.
    either.reveal_commitment(2, 0)
    assert either.connection.read("fault_count", COORDINATOR, 0) == 0
    shown = (2, forged[1].words(), posted_proof(forged, HOSPITALS, 1))
    (events,) = either.connection.send([("reveal_commitment", shown)], BYSTANDER)
    assert [event.name for event in events] == ["CommitmentForged", "RoundAbandoned"]
    assert either.connection.read("fault_count", COORDINATOR, 0) == 1
    # The round is void: nothing moves, its number is used up, the next one starts.
    with pytest.raises(ledger.Reverted, match="no dispute now"):
        either.record_aggregate(2, RESULT, [True] * 4, CANDIDATE)
    assert either.reputations() == before
    text = told(either, tmp_path)
    assert "the coordinator is at fault: it posted what hospitals 1 did not sign" in text
    commit_all(either, 3)
    assert set(either.commitments(3)) == set(range(HOSPITALS))


def test_an_undetected_forgery_fails_the_audit(merkle_mode: Consortium, tmp_path: Path) -> None:
    """If nobody reveals it within the round, whoever reads the chain finds it afterwards."""
    merkle_mode.open_round(2, merkle_mode.model_hash)
    close_with(merkle_mode, replaced(honest(merkle_mode), merkle_mode))
    finish(merkle_mode, [True] * 4)
    merkle_mode.export(tmp_path / "chain.jsonl")
    faults = [fault.fault for fault in audit(tmp_path / "chain.jsonl").faults]
    assert faults == ["uses commitments not signed by [1]"]


@pytest.mark.parametrize("what", ["root", "set", "bytes"])
def test_a_root_that_is_not_of_what_was_posted_with_it_fails_the_audit(
    merkle_mode: Consortium, what: str, tmp_path: Path
) -> None:
    merkle_mode.open_round(2, merkle_mode.model_hash)
    signed = honest(merkle_mode)
    root = posted_root(signed, HOSPITALS) if what != "root" else digest("root")
    members = [0, 1, 2, 3] if what != "set" else [0, 1, 2]
    data = pack(signed) if what != "bytes" else pack(signed)[:-1]
    pass_time(merkle_mode)
    merkle_mode.connection.send([("post_commitments", (2, root, to_words(members), data))])
    merkle_mode.export(tmp_path / "chain.jsonl")
    faults = " ".join(fault.fault for fault in audit(tmp_path / "chain.jsonl").faults)
    expected = {
        "root": "the root is not that of the commitments posted with it",
        "set": "the commitments posted are not those of the hospitals named",
        "bytes": "what was posted is not a list of commitments",
    }
    assert expected[what] in faults


def test_a_client_without_the_commitments_says_so(merkle_mode: Consortium) -> None:
    commit_all(merkle_mode)
    merkle_mode._posted = ()
    with pytest.raises(ledger.LedgerError, match="holds no commitments under the root 0x"):
        merkle_mode.commitments(2)


def test_both_modes_come_to_the_same_reputations() -> None:
    outcomes = []
    for mode in ("each", "merkle"):
        client = small_chain(seed=22, mode=mode)
        play_round(client, 1, [False, True, True, None])
        outcomes.append(play_round(client, 2, [False, False, True, True]))
    assert outcomes[0] == outcomes[1]


def test_five_hundred_hospitals_under_one_root(tmp_path: Path) -> None:
    client = ledger.open_chain(500, mode="merkle")
    client.open_round(1, MODEL)
    everybody = {i: digest(i) for i in range(500)}
    client.commit(1, everybody)
    assert client.commitments(1) == everybody
    client.record_aggregate(1, RESULT, [i % 3 != 0 for i in range(500)])
    client.attest(1, [(0.5, 0.5, 0.5)] * 5, RESULT)
    assert client.finalize(1).reputations == [1.0 if i % 3 else 0.5 for i in range(500)]
    assert "Round 1 (blocks" in told(client, tmp_path)


def test_the_mode_must_be_known() -> None:
    with pytest.raises(ValueError, match="mode must be 'each' or 'merkle'; got 'none'"):
        ledger.open_chain(2, mode="none")
