"""Wrong steps in a round: opening, commitments, verdicts, attestations, end, suspension."""

import dataclasses
from typing import Any

from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import Signature
from ledger.members.members import (
    COORDINATOR,
)
from ledger.protocol.parameters import MAX_LOSS, SCALE
from tests.ledger.conftest import CANDIDATE, GOOD, MODEL, digest, suspend_hospital_0
from tests.ledger.contracts.refusals import (
    STRANGER,
    Registry,
    commit,
    record,
    send,
)

REGISTRY = Registry()
refused, wrong = REGISTRY.refused, REGISTRY.wrong


# ---- opening ----


wrong("open_while_open", "open", "ledger: a round is under way", Consortium.open_round, 2, MODEL)
wrong("open_out_of_turn", "idle", "ledger: not the next round", Consortium.open_round, 2, MODEL)
wrong("open_again", "over", "ledger: not the next round", Consortium.open_round, 1, CANDIDATE)
wrong("open_on_zero", "idle", "ledger: model hash of zero", Consortium.open_round, 1, bytes(32))
wrong(
    "open_on_old_model",
    "over",
    "ledger: not the last accepted model",
    Consortium.open_round,
    2,
    MODEL,
)
wrong(
    "initial_model_too_late",
    "over",
    "ledger: rounds have begun",
    Consortium.attest_initial,
    MODEL,
    [],
)


@refused("idle", "membership: caller is not the coordinator")
def open_by_another(client: Consortium) -> None:
    # The coordinator hands over to another key, so the client's own key is now a stranger's.
    client.administration.replace_key(COORDINATOR, 0, STRANGER.address)
    client.open_round(1, MODEL)


# ---- commitments ----


wrong("commit_to_next_round", "open", "ledger: foreign round", commit, 0, round=2)
wrong("commit_late", "closed", "ledger: late commitment", commit, 3)
wrong("commit_after_the_round", "over", "ledger: late commitment", commit, 3)
wrong("commit_by_nobody", "open", "ledger: no such hospital", commit, 0, claim=4)
wrong("commit_to_zero", "open", "ledger: commitment of zero", commit, 0, root=bytes(32))
wrong("commit_for_another", "open", "ledger: not signed by the hospital", commit, 0, claim=1)
wrong(
    "commit_with_a_foreign_key",
    "open",
    "ledger: not signed by the hospital",
    commit,
    0,
    signer=STRANGER,
)
wrong(
    "commit_signed_for_another_round",
    "open",
    "ledger: not signed by the hospital",
    commit,
    0,
    signed_round=2,
)
wrong(
    "commit_signed_for_another_model",
    "open",
    "ledger: not signed by the hospital",
    commit,
    0,
    model=CANDIDATE,
)


@refused("open", "ledger: commitments may still come")
def close_at_once(client: Consortium) -> None:
    """Three of four hospitals committed in the block after the opening."""
    signed = [client.sign_commitment(i, 1, MODEL, digest("root", i)) for i in range(3)]
    client.submit_commitments(1, signed)


@refused("open", "ledger: not signed by the hospital")
def commit_with_a_high_s(client: Consortium) -> None:
    signed = client.sign_commitment(0, 1, MODEL, digest("root"))
    high = Signature(signed.signature.r, 2**255 - 1)
    client.submit_commitments(1, [dataclasses.replace(signed, signature=high)], last=False)


@refused("open", "ledger: not signed by the hospital")
def commit_unsigned(client: Consortium) -> None:
    signed = client.sign_commitment(0, 1, MODEL, digest("root"))
    empty = Signature(bytes(32), 0)
    client.submit_commitments(1, [dataclasses.replace(signed, signature=empty)], last=False)


# ---- verdicts ----


wrong("record_for_next_round", "shared", "ledger: foreign round", record, round=2)
wrong("record_before_closing", "open", "ledger: not awaiting an aggregate", record)
wrong("record_twice", "aggregated", "ledger: not awaiting an aggregate", record)
wrong("record_zero_model", "shared", "ledger: model hash of zero", record, candidate=bytes(32))


@refused("shared", "ledger: every node must sign")
def record_with_one_node(client: Consortium) -> None:
    record(client, signers=client.members.nodes[:1])


@refused("shared", "ledger: not signed by the node")
def record_with_one_node_twice(client: Consortium) -> None:
    record(client, signers=[client.members.nodes[0]] * 2)


wrong(
    "record_signed_for_another_round",
    "shared",
    "ledger: not signed by the node",
    record,
    signed_round=2,
)
wrong("record_both", "shared", "ledger: accepted and rejected", record, rejected=[0, 1, 2])
wrong("record_absent", "shared", "ledger: verdict on absent", record, accepted=[0, 3])
wrong("record_nobody", "shared", "ledger: verdict on absent", record, rejected=[1, 2, 700])


# ---- attestations ----


def attest(client: Consortium, validator: int = 0, **changes: Any) -> None:
    values = [changes.get(name, SCALE // 2) for name in ("accuracy", "loss", "f1")]
    round_number = changes.get("round", 1)
    signed = client.connection.messages.attestation(
        round_number, changes.get("model", CANDIDATE), *values
    )
    signer = changes.get("signer", client.members.validators[0])
    entry = (validator, *values, *pair(signer.sign(signed)))
    send(client, "attest_batch", round_number, [entry])


wrong("attest_for_next_round", "aggregated", "ledger: foreign round", attest, round=2)
wrong("attest_too_early", "closed", "ledger: not awaiting attestations", attest)
wrong("attest_by_nobody", "aggregated", "ledger: no such validator", attest, validator=3)
wrong(
    "attest_impossible_accuracy",
    "aggregated",
    "ledger: metric above 1",
    attest,
    accuracy=SCALE + 1,
)
wrong("attest_impossible_f1", "aggregated", "ledger: metric above 1", attest, f1=SCALE + 1)
wrong("attest_impossible_loss", "aggregated", "ledger: loss too large", attest, loss=MAX_LOSS + 1)
wrong(
    "attest_for_another", "aggregated", "ledger: not signed by the validator", attest, validator=1
)
wrong(
    "attest_another_model", "aggregated", "ledger: not signed by the validator", attest, model=MODEL
)


# ---- the end of a round ----


wrong("finalize_next_round", "attested", "ledger: foreign round", Consortium.finalize, 2)
wrong("finalize_too_early", "closed", "ledger: nothing to finalize", Consortium.finalize, 1)
wrong("finalize_twice", "over", "ledger: nothing to finalize", Consortium.finalize, 1)
wrong("finalize_unattested", "aggregated", "ledger: below the quorum", Consortium.finalize, 1)
wrong(
    "abandon_at_the_quorum", "attested", "ledger: the outcome stands", Consortium.abandon_round, 1
)


@refused("aggregated", "ledger: attestations may still come")
def finalize_at_the_quorum_at_once(client: Consortium) -> None:
    """Two of three validators are the quorum; the third has a block's time."""
    client.attest(1, [*GOOD[:2], None], CANDIDATE)
    send(client, "finalize", 1)


wrong("abandon_next_round", "open", "ledger: foreign round", Consortium.abandon_round, 2)
wrong("abandon_before_all", "idle", "ledger: nothing to abandon", Consortium.abandon_round, 0)
wrong("abandon_what_is_over", "over", "ledger: nothing to abandon", Consortium.abandon_round, 1)


# ---- suspension ----


@refused("idle", "ledger: hospital is suspended")
def commit_while_suspended(client: Consortium) -> None:
    suspend_hospital_0(client)
    commit(client, 0, round=3)


@refused("over", "ledger: hospital is not suspended")
def reinstate_the_innocent(client: Consortium) -> None:
    client.administration.reinstate(0)


@refused("over", "ledger: no such hospital")
def reinstate_nobody(client: Consortium) -> None:
    client.administration.reinstate(4)


# ---- reading ----


@refused("idle", "ledger: no such hospital")
def read_words_of_nobody(client: Consortium) -> None:
    client.connection.read("hospital_words", 1, 4)


@refused("idle", "ledger: no such hospital")
def read_commitments_of_nobody(client: Consortium) -> None:
    client.connection.read("commitments", 1, 4)
