"""Every reason for which the contract refuses, each provoked by the smallest wrong step."""

import dataclasses
import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger.administration import pair
from ledger.client import LedgerClient
from ledger.keys import Signature, Signer, simulation_key
from ledger.members import (
    ADMINISTRATOR,
    COORDINATOR,
    HOSPITAL,
    NODE,
    VALIDATOR,
    Members,
)
from ledger.parameters import MAX_LOSS, SCALE, Parameters
from tests.ledger.conftest import CANDIDATE, MODEL, digest, roots, suspend_hospital_0
from tests.ledger.refusals import (
    STRANGER,
    Step,
    approved,
    commit,
    reason_of,
    record,
    registry,
    send,
)
from tests.ledger.test_ledger_share_reverts import CASES as SHARE_CASES

CONTRACTS = Path(ledger.__file__).parent / "contracts"
CASES, refused = registry()


@pytest.mark.parametrize(("phase", "reason", "step"), CASES)
def test_refused(
    phase: str, reason: str, step: Step, to_phase: Callable[[str], LedgerClient]
) -> None:
    assert reason_of(step, to_phase(phase)) == reason


def test_a_refused_call_leaves_no_trace(to_phase: Callable[[str], LedgerClient]) -> None:
    client = to_phase("open")
    head = client.head_hash
    good = ("commit_batch", (1, [], False))
    with pytest.raises(ledger.Reverted, match=r"finalize refused .*: ledger: nothing to"):
        client.connection.send([good, ("finalize", (1,))])
    assert client.head_hash == head
    client.commit(1, roots(1))
    assert client.commitments(1) == roots(1)


def test_every_reason_is_tested() -> None:
    sources = " ".join(path.read_text() for path in CONTRACTS.glob("*.vy"))
    reasons = set(re.findall(r'"((?:ledger|membership|reputation|merkle): [^"]+)"', sources))
    assert reasons == {case.values[1] for case in [*CASES, *SHARE_CASES]}


# ---- opening ----


@refused("open", "ledger: a round is under way")
def open_while_open(client: LedgerClient) -> None:
    client.open_round(2, MODEL)


@refused("idle", "ledger: not the next round")
def open_out_of_turn(client: LedgerClient) -> None:
    client.open_round(2, MODEL)


@refused("over", "ledger: not the next round")
def open_again(client: LedgerClient) -> None:
    client.open_round(1, CANDIDATE)


@refused("idle", "ledger: model hash of zero")
def open_on_zero(client: LedgerClient) -> None:
    client.open_round(1, bytes(32))


@refused("over", "ledger: not the last accepted model")
def open_on_old_model(client: LedgerClient) -> None:
    client.open_round(2, MODEL)


@refused("over", "ledger: rounds have begun")
def initial_model_too_late(client: LedgerClient) -> None:
    client.attest_initial(MODEL, [])


@refused("idle", "membership: caller is not the coordinator")
def open_by_another(client: LedgerClient) -> None:
    # The coordinator hands over to another key, so the client's own key is now a stranger's.
    client.administration.replace_key(COORDINATOR, 0, STRANGER.address)
    client.open_round(1, MODEL)


# ---- commitments ----


@refused("open", "ledger: foreign round")
def commit_to_next_round(client: LedgerClient) -> None:
    commit(client, 0, round=2)


@refused("closed", "ledger: late commitment")
def commit_late(client: LedgerClient) -> None:
    commit(client, 3)


@refused("over", "ledger: late commitment")
def commit_after_the_round(client: LedgerClient) -> None:
    commit(client, 3)


@refused("open", "ledger: no such hospital")
def commit_by_nobody(client: LedgerClient) -> None:
    commit(client, 0, claim=4)


@refused("open", "ledger: commitment of zero")
def commit_to_zero(client: LedgerClient) -> None:
    commit(client, 0, root=bytes(32))


@refused("open", "ledger: second commitment")
def commit_twice(client: LedgerClient) -> None:
    commit(client, 1, 1)


@refused("open", "ledger: not signed by the hospital")
def commit_for_another(client: LedgerClient) -> None:
    commit(client, 0, claim=1)


@refused("open", "ledger: not signed by the hospital")
def commit_with_a_foreign_key(client: LedgerClient) -> None:
    commit(client, 0, signer=STRANGER)


@refused("open", "ledger: not signed by the hospital")
def commit_signed_for_another_round(client: LedgerClient) -> None:
    commit(client, 0, signed_round=2)


@refused("open", "ledger: not signed by the hospital")
def commit_signed_for_another_model(client: LedgerClient) -> None:
    commit(client, 0, model=CANDIDATE)


@refused("open", "ledger: not signed by the hospital")
def commit_with_a_high_s(client: LedgerClient) -> None:
    signed = client.sign_commitment(0, 1, MODEL, digest("root"))
    high = Signature(signed.signature.r, 2**255 - 1)
    client.submit_commitments(1, [dataclasses.replace(signed, signature=high)])


@refused("open", "ledger: not signed by the hospital")
def commit_unsigned(client: LedgerClient) -> None:
    signed = client.sign_commitment(0, 1, MODEL, digest("root"))
    empty = Signature(bytes(32), 0)
    client.submit_commitments(1, [dataclasses.replace(signed, signature=empty)])


# ---- verdicts ----


@refused("shared", "ledger: foreign round")
def record_for_next_round(client: LedgerClient) -> None:
    record(client, round=2)


@refused("open", "ledger: not awaiting an aggregate")
def record_before_closing(client: LedgerClient) -> None:
    record(client)


@refused("aggregated", "ledger: not awaiting an aggregate")
def record_twice(client: LedgerClient) -> None:
    record(client)


@refused("shared", "ledger: model hash of zero")
def record_zero_model(client: LedgerClient) -> None:
    record(client, candidate=bytes(32))


@refused("shared", "ledger: every node must sign")
def record_with_one_node(client: LedgerClient) -> None:
    record(client, signers=client.members.nodes[:1])


@refused("shared", "ledger: not signed by the node")
def record_with_one_node_twice(client: LedgerClient) -> None:
    record(client, signers=[client.members.nodes[0]] * 2)


@refused("shared", "ledger: not signed by the node")
def record_signed_for_another_round(client: LedgerClient) -> None:
    record(client, signed_round=2)


@refused("shared", "ledger: accepted and rejected")
def record_both(client: LedgerClient) -> None:
    record(client, rejected=[0])


@refused("shared", "ledger: verdict on absent")
def record_absent(client: LedgerClient) -> None:
    record(client, accepted=[3])


@refused("shared", "ledger: verdict on absent")
def record_nobody(client: LedgerClient) -> None:
    record(client, rejected=[700])


# ---- attestations ----


def attest(client: LedgerClient, validator: int = 0, **changes: Any) -> None:
    values = [changes.get(name, SCALE // 2) for name in ("accuracy", "loss", "f1")]
    round_number = changes.get("round", 1)
    signed = client.connection.messages.attestation(
        round_number, changes.get("model", CANDIDATE), *values
    )
    signer = changes.get("signer", client.members.validators[0])
    entry = (validator, *values, *pair(signer.sign(signed)))
    send(client, "attest_batch", round_number, [entry] * changes.get("times", 1))


@refused("aggregated", "ledger: foreign round")
def attest_for_next_round(client: LedgerClient) -> None:
    attest(client, round=2)


@refused("closed", "ledger: not awaiting attestations")
def attest_too_early(client: LedgerClient) -> None:
    attest(client)


@refused("aggregated", "ledger: no such validator")
def attest_by_nobody(client: LedgerClient) -> None:
    attest(client, validator=3)


@refused("aggregated", "ledger: accuracy above 1")
def attest_impossible_accuracy(client: LedgerClient) -> None:
    attest(client, accuracy=SCALE + 1)


@refused("aggregated", "ledger: f1 above 1")
def attest_impossible_f1(client: LedgerClient) -> None:
    attest(client, f1=SCALE + 1)


@refused("aggregated", "ledger: loss too large")
def attest_impossible_loss(client: LedgerClient) -> None:
    attest(client, loss=MAX_LOSS + 1)


@refused("aggregated", "ledger: second attestation")
def attest_twice(client: LedgerClient) -> None:
    attest(client, times=2)


@refused("aggregated", "ledger: not signed by the validator")
def attest_for_another(client: LedgerClient) -> None:
    attest(client, validator=1)


@refused("aggregated", "ledger: not signed by the validator")
def attest_another_model(client: LedgerClient) -> None:
    attest(client, model=MODEL)


# ---- the end of a round ----


@refused("attested", "ledger: foreign round")
def finalize_next_round(client: LedgerClient) -> None:
    client.finalize(2)


@refused("closed", "ledger: nothing to finalize")
def finalize_too_early(client: LedgerClient) -> None:
    client.finalize(1)


@refused("over", "ledger: nothing to finalize")
def finalize_twice(client: LedgerClient) -> None:
    client.finalize(1)


@refused("aggregated", "ledger: below the quorum")
def finalize_unattested(client: LedgerClient) -> None:
    client.finalize(1)


@refused("open", "ledger: foreign round")
def abandon_next_round(client: LedgerClient) -> None:
    client.abandon_round(2)


@refused("over", "ledger: nothing to abandon")
def abandon_what_is_over(client: LedgerClient) -> None:
    client.abandon_round(1)


# ---- suspension ----


@refused("idle", "ledger: hospital is suspended")
def commit_while_suspended(client: LedgerClient) -> None:
    suspend_hospital_0(client)
    commit(client, 0, round=3)


@refused("over", "ledger: hospital is not suspended")
def reinstate_the_innocent(client: LedgerClient) -> None:
    client.administration.reinstate(0)


@refused("over", "ledger: no such hospital")
def reinstate_nobody(client: LedgerClient) -> None:
    client.administration.reinstate(4)


# ---- reading ----


@refused("idle", "ledger: no such hospital")
def read_words_of_nobody(client: LedgerClient) -> None:
    client.connection.read("hospital_words", 1, 4)


@refused("idle", "ledger: no such hospital")
def read_commitments_of_nobody(client: LedgerClient) -> None:
    client.connection.read("commitments", 1, 4)


# ---- administration ----


def register(client: LedgerClient, role: int = NODE, **changes: Any) -> None:
    accounts = changes.get("accounts", [STRANGER.address])
    certificates = changes.get("certificates", [digest(account) for account in accounts])
    nonce = changes.get("nonce", client.administration.nonce())
    signed = client.connection.messages.register(role, accounts, certificates, nonce)
    signatures = approved(client, signed, changes.get("signers"))
    if changes.get("reverse"):
        signatures.reverse()
    send(client, "register", role, accounts, certificates, signatures)


@refused("idle", "membership: role not open")
def register_administrator(client: LedgerClient) -> None:
    register(client, ADMINISTRATOR)


@refused("idle", "membership: role not open")
def register_coordinator(client: LedgerClient) -> None:
    register(client, COORDINATOR)


@refused("idle", "membership: one certificate per account")
def register_without_certificate(client: LedgerClient) -> None:
    register(client, certificates=[])


@refused("idle", "membership: the zero address is nobody")
def register_zero(client: LedgerClient) -> None:
    register(client, accounts=[bytes(20)])


@refused("idle", "membership: key already used")
def register_in_two_roles(client: LedgerClient) -> None:
    register(client, accounts=[client.members.hospitals[0].address])


@refused("idle", "membership: key already used")
def register_a_retired_key(client: LedgerClient) -> None:
    client.administration.replace_key(NODE, 0, STRANGER.address)
    register(client, accounts=[client.members.nodes[0].address])


@refused("idle", "membership: no seat left")
def register_too_many_nodes(client: LedgerClient) -> None:
    keys = [simulation_key(99, "crowd", i).address for i in range(31)]
    register(client, accounts=keys)


@refused("idle", "membership: too few approvals")
def register_by_one_administrator(client: LedgerClient) -> None:
    register(client, signers=client.members.administrators[:1])


@refused("idle", "membership: not an administrator")
def register_by_a_stranger(client: LedgerClient) -> None:
    register(client, signers=[client.members.administrators[0], STRANGER])


@refused("idle", "membership: not an administrator")
def register_with_an_old_nonce(client: LedgerClient) -> None:
    register(client, nonce=client.administration.nonce() - 1)


@refused("idle", "membership: approvals not in order")
def register_with_one_approval_twice(client: LedgerClient) -> None:
    register(client, signers=[client.members.administrators[0]] * 2)


@refused("idle", "membership: approvals not in order")
def register_out_of_order(client: LedgerClient) -> None:
    register(client, reverse=True)


@refused("idle", "membership: no such member")
def replace_nobody(client: LedgerClient) -> None:
    client.administration.replace_key(VALIDATOR, 3, STRANGER.address)


@refused("idle", "membership: no such member")
def replace_beyond_the_hospitals(client: LedgerClient) -> None:
    client.administration.replace_key(HOSPITAL, 4, STRANGER.address)


# ---- parameters ----


def set_words(client: LedgerClient, **changes: int) -> None:
    names = [field.name for field in dataclasses.fields(Parameters)][:8]
    rule = dict(zip(names, Parameters().rule_words(), strict=True))
    limits = dict(
        zip(
            ("accuracy_drop", "loss_rise", "f1_drop", "quorum"),
            Parameters().limit_words(),
            strict=True,
        )
    )
    for name, value in changes.items():
        (rule if name in rule else limits)[name] = value
    words = tuple(rule.values()), tuple(limits.values())
    signed = client.connection.messages.set_parameters(*words, client.administration.nonce())
    send(client, "set_parameters", *words, approved(client, signed))


@refused("open", "ledger: a round is under way")
def change_the_rule_mid_round(client: LedgerClient) -> None:
    client.administration.set_parameters(Parameters())


WRONG_PARAMETERS = [
    ("reputation: initial above 1", {"initial": SCALE + 1}),
    ("reputation: growth above 1", {"growth": SCALE + 1}),
    ("reputation: rejection keep above 1", {"rejection_keep": SCALE + 1}),
    ("reputation: repetition step above 1", {"repetition_step": SCALE + 1}),
    ("reputation: abnormal keep above 1", {"abnormal_keep": SCALE + 1}),
    ("reputation: floor above initial", {"floor": SCALE, "initial": SCALE - 1}),
    ("reputation: reinstated above 1", {"reinstated": SCALE + 1}),
    ("reputation: floor above reinstated", {"reinstated": 0}),
    ("reputation: probation too long", {"probation_rounds": 2**16}),
    ("ledger: accuracy limit above 1", {"accuracy_drop": SCALE + 1}),
    ("ledger: f1 limit above 1", {"f1_drop": SCALE + 1}),
    ("ledger: loss limit too large", {"loss_rise": MAX_LOSS + 1}),
    ("ledger: quorum not in 1 to 32", {"quorum": 0}),
    ("ledger: quorum not in 1 to 32", {"quorum": 33}),
]
for _reason, _changes in WRONG_PARAMETERS:

    def _step(client: LedgerClient, changes: dict[str, int] = _changes) -> None:
        set_words(client, **changes)

    _step.__name__ = "parameters " + " ".join(_changes)
    refused("idle", _reason)(_step)


# ---- creation ----


def deploy(threshold: int, administrators: Sequence[Signer]) -> None:
    from ledger import contract
    from ledger.chain import Genesis, InProcessChain, Transaction

    members = Members.simulated(5, 1)
    chain = InProcessChain(Genesis(1, 1, (members.coordinator.address,)))
    rule, limits = Parameters().rule_words(), Parameters().limit_words()
    keys = [signer.address for signer in administrators]
    data = contract.encode_creation(keys, threshold, members.coordinator.address, rule, limits)
    chain.send([Transaction("__init__", b"", data)], members.coordinator)


@refused("idle", "membership: threshold of zero")
def create_without_threshold(client: LedgerClient) -> None:
    deploy(0, client.members.administrators)


@refused("idle", "membership: threshold above administrators")
def create_with_too_high_a_threshold(client: LedgerClient) -> None:
    deploy(4, client.members.administrators)


@refused("idle", "membership: key already used")
def create_with_one_administrator_twice(client: LedgerClient) -> None:
    deploy(2, [client.members.administrators[0]] * 2)
