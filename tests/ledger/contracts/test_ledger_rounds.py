"""Rounds that go as they should, seen through the client."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

import ledger
from ledger.audit.chain_file import audit
from ledger.audit.report import render
from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import simulation_key
from ledger.members.members import COORDINATOR, HOSPITAL, NODE, VALIDATOR
from ledger.protocol.contract import Event
from ledger.protocol.parameters import Parameters
from tests.ledger.conftest import (
    CANDIDATE,
    GOOD,
    MODEL,
    RESULT,
    digest,
    play_round,
    play_three_hundred,
    roots,
    small_chain,
)


def test_a_round_from_opening_to_outcome(client: Consortium) -> None:
    client.open_round(1, MODEL)
    assert client.commit(1, roots(1)) == {}
    assert client.commitments(1) == roots(1)
    client.record_aggregate(1, RESULT, [True, False, True, True], CANDIDATE)
    client.attest(1, [(0.9, 0.3, 0.6), (0.7, 0.5, 0.8), (0.8, 0.4, 0.7)], CANDIDATE)
    outcome = client.finalize(1)
    assert outcome == ledger.RoundOutcome(
        round=1,
        status="accepted",
        model=CANDIDATE,
        accuracy=0.8,
        loss=0.4,
        f1=0.7,
        reputations=[1.0, 0.5, 1.0, 1.0],
        suspended=[False] * 4,
    )
    assert client.reputations() == outcome.reputations
    assert client.model_hash == CANDIDATE


def test_events_tell_the_round(client: Consortium) -> None:
    client.open_round(1, MODEL)
    signed = [client.sign_commitment(i, 1, MODEL, root) for i, root in roots(1).items()]
    entries = [(c.hospital, c.root, *pair(c.signature)) for c in signed]
    (events,) = client.connection.send([("commit_batch", (1, entries, True))])
    assert events == [
        *(
            Event("Committed", {"round": 1, "hospital": i, "root": root})
            for i, root in roots(1).items()
        ),
        Event("CommitmentsClosed", {"round": 1, "committed": (15, 0, 0, 0)}),
    ]
    client.record_aggregate(1, RESULT, [False, True, True, True], CANDIDATE)
    client.attest(1, GOOD, CANDIDATE)
    (events,) = client.connection.send([("finalize", (1,))])
    one, half = 10**18, 10**18 // 2
    assert [event.name for event in events] == ["ReputationChanged", "RoundFinalized"]
    assert events[0].args == {
        "round": 1,
        "hospital": 0,
        "before": one,
        "after": half,
        "reason": 2,
    }


def test_commitments_may_come_in_several_batches(client: Consortium) -> None:
    client.open_round(1, MODEL)
    signed = [client.sign_commitment(i, 1, MODEL, root) for i, root in roots(1).items()]
    client.submit_commitments(1, signed[:1], last=False)
    client.submit_commitments(1, signed[1:3], last=False)
    # What came first stands; a batch that has it again goes through.
    late = client.sign_commitment(2, 1, MODEL, digest("another root"))
    client.submit_commitments(1, [late, signed[3]])
    assert client.commitments(1) == roots(1)


def test_degradation_rolls_back_and_punishes_the_accepted(client: Consortium) -> None:
    first = play_round(client, 1)
    bad = play_round(client, 2, [True, True, False, None], [(0.74, 0.5, 0.7)] * 3)
    assert (bad.status, bad.model) == ("abnormal", first.model)
    assert bad.reputations == [0.9, 0.9, 0.5, 1.0]
    # The next round starts from the last good model and is measured against it.
    good = play_round(client, 3, metrics=[(0.75, 0.75, 0.6)] * 3)
    assert (good.status, good.model) == ("accepted", digest("model", 3))


@pytest.mark.parametrize(
    "metrics",
    [(0.7499, 0.5, 0.7), (0.8, 0.7501, 0.7), (0.8, 0.5, 0.5999), (0.8, float("nan"), 0.7)],
)
def test_each_metric_can_make_a_round_abnormal(
    client: Consortium, metrics: tuple[float, float, float]
) -> None:
    play_round(client, 1)
    assert play_round(client, 2, metrics=[metrics] * 3).status == "abnormal"


def test_a_lying_validator_does_not_move_the_median_out_of_the_honest_range(
    client: Consortium,
) -> None:
    play_round(client, 1)
    lie = play_round(client, 2, metrics=[(0.80, 0.5, 0.7), (0.0, 1e9, 0.0), (0.81, 0.5, 0.7)])
    assert (lie.status, lie.accuracy) == ("accepted", 0.80)


def test_a_quorum_is_enough(to_phase: Callable[[str], Consortium]) -> None:
    client = to_phase("aggregated")
    client.attest(1, [(0.8, 0.5, 0.7), None, (0.9, 0.7, 0.8)], CANDIDATE)
    outcome = client.finalize(1)
    assert (outcome.accuracy, outcome.loss, outcome.f1) == (0.85, 0.6, 0.75)


def test_the_initial_model_can_be_the_baseline(client: Consortium) -> None:
    start = client.attest_initial(MODEL, GOOD)
    assert (start.round, start.status, start.model) == (0, "accepted", MODEL)
    outcome = play_round(client, 1, metrics=[(0.2, 0.5, 0.7)] * 3)
    assert (outcome.status, outcome.model) == ("abnormal", MODEL)


def test_an_initial_model_without_a_quorum_is_abandoned(client: Consortium, tmp_path: Path) -> None:
    """What one validator attested of it counts in no later round; nor can it be put again."""
    with pytest.raises(ledger.Reverted, match="below the quorum"):
        client.attest_initial(MODEL, [*GOOD[:1], None, None])
    client.abandon_round(0)
    with pytest.raises(ledger.Reverted, match="rounds have begun"):
        client.attest_initial(CANDIDATE, GOOD)
    outcome = play_round(client, 1, metrics=[(0.2, 0.5, 0.7)] * 3)
    assert (outcome.status, outcome.model) == ("accepted", digest("model", 1))
    assert outcome.accuracy == 0.2
    client.export(tmp_path / "chain.jsonl")
    report = audit(tmp_path / "chain.jsonl")
    assert (report.faults, [r.status for r in report.rounds]) == ([], ["abandoned", "accepted"])
    assert "Round 0" in render(report)


def test_an_attested_initial_model_stands(client: Consortium) -> None:
    client.connection.send([("propose_initial", (MODEL,))])
    client.attest(0, GOOD, MODEL)
    with pytest.raises(ledger.Reverted, match="the outcome stands"):
        client.abandon_round(0)
    assert client.finalize(0).status == "accepted"


def test_suspension_reinstatement_and_probation(client: Consortium) -> None:
    for round_number in (1, 2, 3):
        outcome = play_round(client, round_number, [False, True, True, True])
    assert outcome.suspended == [True, False, False, False]
    client.open_round(4, client.model_hash)
    assert client.commit(4, roots(4)) == {0: "suspended"}
    assert 0 not in client.commitments(4)
    client.abandon_round(4)

    client.administration.reinstate(0)
    assert (client.suspended()[0], client.reputations()[0]) == (False, 0.3)
    outcome = play_round(client, 5)
    assert outcome.reputations[0] == pytest.approx(0.37, abs=1e-15)
    outcome = play_round(client, 6, [False, True, True, True])
    assert outcome.suspended[0], "on probation the first rejection suspends"


def test_an_abandoned_round_moves_nothing(to_phase: Callable[[str], Consortium]) -> None:
    client = to_phase("aggregated")
    before = client.reputations()
    client.abandon_round(1)
    assert client.reputations() == before
    assert play_round(client, 2).model == digest("model", 2)


def test_a_signature_for_an_abandoned_round_is_void(
    to_phase: Callable[[str], Consortium],
) -> None:
    client = to_phase("open")
    old = client.sign_commitment(0, 1, MODEL, digest("root"))
    client.abandon_round(1)
    client.open_round(2, MODEL)
    with pytest.raises(ledger.Reverted, match="not signed by the hospital"):
        client.submit_commitments(2, [old])


def test_two_roots_of_one_round_are_the_hospitals_fault(client: Consortium) -> None:
    """Hospital 0 delivered to node 1 what opens another root than it committed to."""
    messages = client.connection.messages
    client.open_round(1, MODEL)
    client.commit(1, {0: digest("tree"), 1: digest("root")})
    client.attest_shares(1)
    said = (digest("share"), digest("another tree"))
    delivery = client.members.hospitals[0].sign(messages.delivery(1, 1, *said))
    (events,) = client.connection.send([("dispute_share", (1, 0, 1, *said, pair(delivery)))])
    names = {"round": 1, "hospital": 0, "node": 1, "hospital_at_fault": True}
    assert events == [Event("ShareDisputed", names)]
    # At fault means rejected, even where the verdict is silent.
    client.record_aggregate(1, RESULT, {1: True}, CANDIDATE)
    client.attest(1, GOOD, CANDIDATE)
    assert client.finalize(1).reputations[0] == 0.5


def test_a_receipt_binds_the_node_that_gave_it(client: Consortium) -> None:
    messages = client.connection.messages
    client.open_round(1, MODEL)
    client.commit(1, {0: digest("tree"), 1: digest("root")})
    client.attest_shares(1, [[0, 1], [1]])
    receipt = client.members.nodes[1].sign(messages.receipt(1, 0, digest("share"), digest("tree")))
    args = (1, 0, 1, digest("share"), pair(receipt))
    (events,) = client.connection.send([("dispute_denial", args)])
    names = {"round": 1, "hospital": 0, "node": 1, "hospital_at_fault": False}
    assert events == [Event("ShareDisputed", names)]
    assert client.connection.read("fault_count", NODE, 1) == 1
    client.record_aggregate(1, RESULT, {0: True, 1: True}, CANDIDATE)
    client.attest(1, GOOD, CANDIDATE)
    assert client.finalize(1).reputations[0] == 1.0


def test_a_hospital_keeps_its_standing_under_a_new_key(client: Consortium) -> None:
    play_round(client, 1, [False, True, True, True])
    new = simulation_key(77, "hospital", 0)
    client.administration.replace_key(HOSPITAL, 0, new.address, digest("certificate"))
    assert client.reputations()[0] == 0.5
    assert client.connection.read("certificate", HOSPITAL, 0) == digest("certificate")
    client.open_round(2, client.model_hash)
    with pytest.raises(ledger.Reverted, match="not signed by the hospital"):
        client.commit(2, {0: digest("root")})
    signed = client.sign_commitment(0, 2, client.model_hash, digest("root"), signer=new)
    client.connection.reach(client.connection.chain.height + 2)
    client.submit_commitments(2, [signed])
    assert client.commitments(2) == {0: digest("root")}


def test_a_replaced_coordinator_is_out(client: Consortium) -> None:
    client.administration.replace_key(COORDINATOR, 0, simulation_key(77, "c", 0).address)
    with pytest.raises(ledger.Reverted, match="caller is not the coordinator"):
        client.open_round(1, MODEL)


def test_a_member_may_be_admitted_later(client: Consortium) -> None:
    play_round(client, 1, [False, True, True, True])
    client.administration.register(VALIDATOR, [simulation_key(77, "validator", 3).address])
    client.administration.register(HOSPITAL, [simulation_key(77, "hospital", 4).address])
    assert client.connection.read("count", VALIDATOR) == 4
    (word,) = client.connection.read("hospital_words", 4, 1)
    assert word >> 160 == 10**18


def test_who_is_admitted_in_a_round_counts_from_the_next_on(client: Consortium) -> None:
    """Neither a node, a hospital nor a validator more blocks the round, or takes part in it."""
    keys = {role: simulation_key(77, str(role), 0) for role in (HOSPITAL, NODE, VALIDATOR)}
    client.open_round(1, MODEL)
    for role, key in keys.items():
        client.administration.register(role, [key.address])
    early = client.sign_commitment(4, 1, MODEL, digest("root"), keys[HOSPITAL])
    with pytest.raises(ledger.Reverted, match="no such hospital"):
        client.submit_commitments(1, [early], last=False)
    client.commit(1, roots(1))
    client.record_aggregate(1, RESULT, [True] * 4, CANDIDATE)
    late = client.sign_attestation(3, 1, CANDIDATE, 0.8, 0.5, 0.7, keys[VALIDATOR])
    with pytest.raises(ledger.Reverted, match="no such validator"):
        client.submit_attestations(1, [late])
    client.attest(1, GOOD, CANDIDATE)
    # All who count have attested: nobody is waited for.
    (events,) = client.connection.send([("finalize", (1,))])
    assert events[-1].name == "RoundFinalized"
    # In the next round the new node must sign, like the others.
    client.open_round(2, CANDIDATE)
    signed = client.sign_commitment(4, 2, CANDIDATE, digest("root"), keys[HOSPITAL])
    client.submit_commitments(2, [signed], last=False)
    client.commit(2, roots(2))
    with pytest.raises(ledger.Reverted, match="every node must sign"):
        client.record_aggregate(2, RESULT, [True] * 4, CANDIDATE)


def test_validators_attest_without_the_coordinator(to_phase: Callable[[str], Consortium]) -> None:
    """An attestation left out by the coordinator comes in by itself, and the median is of all."""
    client = to_phase("aggregated")
    low, high = (0.6, 0.5, 0.7), (0.9, 0.5, 0.7)
    client.attest(1, [low, high, None], CANDIDATE)
    signed = client.sign_attestation(2, 1, CANDIDATE, *high)
    entry = (2, signed.accuracy, signed.loss, signed.f1, *pair(signed.signature))
    client.connection.send([("attest_batch", (1, [entry]))], simulation_key(50, "bystander", 0))
    # The coordinator's own batch goes through although that one is there.
    client.submit_attestations(1, [signed])
    assert client.finalize(1).accuracy == 0.9


def test_chains_of_one_seed_do_not_take_each_others_signatures() -> None:
    """Same members, same chain id, same calls: another contract, another domain."""
    first, second = (ledger.open_chain(2) for _ in range(2))
    assert first.members == second.members
    assert first.connection.address != second.connection.address
    for client in (first, second):
        client.open_round(1, MODEL)
    signed = first.sign_commitment(0, 1, MODEL, digest("root"))
    with pytest.raises(ledger.Reverted, match="not signed by the hospital"):
        second.submit_commitments(1, [signed], last=False)
    # The same salt is the same chain, to the last bit.
    assert ledger.open_chain(2, salt=b"1").head_hash == ledger.open_chain(2, salt=b"1").head_hash


def test_parameters_change_between_rounds(client: Consortium) -> None:
    play_round(client, 1)
    client.administration.set_parameters(Parameters(rejection_keep=0.9, quorum=3))
    outcome = play_round(client, 2, [False, True, True, True])
    assert outcome.reputations[0] == 0.9
    assert client.connection.read("limits")[3] == 3


def test_identical_runs_have_the_same_head_and_others_do_not() -> None:
    def head(seed: int, timestamp: int = 1, accuracy: float = 0.8) -> bytes:
        client = small_chain(seed, timestamp=timestamp)
        play_round(client, 1, metrics=[(accuracy, 0.5, 0.7)] * 3)
        return client.head_hash

    assert head(0) == head(0)
    assert len({head(0), head(1), head(0, 2), head(0, 1, 0.81)}) == 4


def test_three_hundred_hospitals_in_two_batches() -> None:
    client = ledger.open_chain(300, validators=1, nodes=1, parameters=Parameters(quorum=1))
    play_three_hundred(client)


def test_a_round_may_pass_without_any_hospital(client: Consortium) -> None:
    client.open_round(1, MODEL)
    client.commit(1, {})
    client.record_aggregate(1, RESULT, [], MODEL)
    client.attest(1, GOOD, MODEL)
    assert client.finalize(1).model == MODEL


def test_cost_is_counted_by_call(client: Consortium) -> None:
    before = client.cost_ms
    client.open_round(1, MODEL)
    client.commit(1, roots(1))
    assert client.cost_ms > before
    assert {"open_round", "commit"} <= client.cost_ms_by_call.keys()


@pytest.mark.parametrize(
    ("step", "message"),
    [
        (lambda: ledger.open_chain(0), "hospitals must be 1 to 1024; got 0"),
        (lambda: ledger.open_chain(1025), "hospitals must be 1 to 1024; got 1025"),
        (lambda: ledger.open_chain(2, nodes=0), "nodes must be 1 to 32; got 0"),
        (lambda: ledger.open_chain(2, threshold=4), "threshold must be 1 to 3; got 4"),
        (lambda: ledger.open_chain(2, validators=3), "quorum must be at most the 3 validators"),
    ],
)
def test_an_impossible_consortium_is_refused(step: Callable[[], object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        step()


def test_bad_arguments_are_named(to_phase: Callable[[str], Consortium]) -> None:
    client = to_phase("aggregated")
    with pytest.raises(ValueError, match=r"accuracy must be in \[0, 1\]; got 1\.5"):
        client.attest(1, [(1.5, 0.5, 0.5)], CANDIDATE)
    with pytest.raises(ValueError, match="metrics must be at most 3 validators'; got 4"):
        client.attest(1, [(0.5, 0.5, 0.5)] * 4, CANDIDATE)
    with pytest.raises(ValueError, match="round_number must be the round 1; got 2"):
        client.commitments(2)
    with pytest.raises(ValueError, match="hospital must be 0 to 3; got 4"):
        client.commit(1, {4: digest("root")})
    signed = client.sign_commitment(0, 1, MODEL, digest("root"))
    with pytest.raises(ValueError, match="hospital must be 0 to 3; got 4"):
        client.close_commitments(1, [replace(signed, hospital=4)])
    with pytest.raises(ValueError, match="model_hash must be 32 bytes; got 3"):
        client.open_round(2, b"abc")
