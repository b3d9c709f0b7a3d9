"""Wrong steps of administrators: members, parameters, and the contract's creation."""

import dataclasses
from collections.abc import Sequence
from typing import Any

from ledger.client.consortium import Consortium
from ledger.members.keys import Signer, simulation_key
from ledger.members.members import (
    ADMINISTRATOR,
    COORDINATOR,
    HOSPITAL,
    NODE,
    VALIDATOR,
    Members,
)
from ledger.protocol.parameters import MAX_LOSS, SCALE, Parameters
from tests.ledger.conftest import digest
from tests.ledger.contracts.refusals import (
    STRANGER,
    Registry,
    approved,
    send,
)

REGISTRY = Registry()
refused, wrong = REGISTRY.refused, REGISTRY.wrong


# ---- members ----


def register(client: Consortium, role: int = NODE, **changes: Any) -> None:
    accounts = changes.get("accounts", [STRANGER.address])
    certificates = changes.get("certificates", [digest(account) for account in accounts])
    nonce = changes.get("nonce", client.administration.nonce())
    signed = client.connection.messages.register(role, accounts, certificates, nonce)
    signatures = approved(client, signed, changes.get("signers"))
    if changes.get("reverse"):
        signatures.reverse()
    send(client, "register", role, accounts, certificates, signatures)


wrong("register_administrator", "idle", "membership: role not open", register, ADMINISTRATOR)
wrong("register_coordinator", "idle", "membership: role not open", register, COORDINATOR)
wrong(
    "register_without_certificate",
    "idle",
    "membership: one certificate per account",
    register,
    certificates=[],
)
wrong(
    "register_zero",
    "idle",
    "membership: the zero address is nobody",
    register,
    accounts=[bytes(20)],
)


@refused("idle", "membership: key already used")
def register_in_two_roles(client: Consortium) -> None:
    register(client, accounts=[client.members.hospitals[0].address])


@refused("idle", "membership: key already used")
def register_a_retired_key(client: Consortium) -> None:
    client.administration.replace_key(NODE, 0, STRANGER.address)
    register(client, accounts=[client.members.nodes[0].address])


@refused("idle", "membership: no seat left")
def register_too_many_nodes(client: Consortium) -> None:
    keys = [simulation_key(99, "crowd", i).address for i in range(31)]
    register(client, accounts=keys)


@refused("idle", "membership: too few approvals")
def register_by_one_administrator(client: Consortium) -> None:
    register(client, signers=client.members.administrators[:1])


@refused("idle", "membership: not an administrator")
def register_by_a_stranger(client: Consortium) -> None:
    register(client, signers=[client.members.administrators[0], STRANGER])


@refused("idle", "membership: not an administrator")
def register_with_an_old_nonce(client: Consortium) -> None:
    register(client, nonce=client.administration.nonce() - 1)


@refused("idle", "membership: approvals not in order")
def register_with_one_approval_twice(client: Consortium) -> None:
    register(client, signers=[client.members.administrators[0]] * 2)


wrong("register_out_of_order", "idle", "membership: approvals not in order", register, reverse=True)


@refused("idle", "membership: no such member")
def replace_nobody(client: Consortium) -> None:
    client.administration.replace_key(VALIDATOR, 3, STRANGER.address)


@refused("idle", "membership: no such member")
def replace_beyond_the_hospitals(client: Consortium) -> None:
    client.administration.replace_key(HOSPITAL, 4, STRANGER.address)


# ---- parameters ----


def set_words(client: Consortium, **changes: int) -> None:
    names = [field.name for field in dataclasses.fields(Parameters)][:8]
    rule = dict(zip(names, Parameters().rule_words(), strict=True))
    limits = dict(
        zip(
            ("accuracy_drop", "loss_rise", "f1_drop", "quorum"),
            Parameters().limit_words(),
            strict=True,
        )
    )
    timing = dict(
        zip(
            ("open_blocks", "dispute_blocks", "quorum_blocks"),
            Parameters().timing_words(),
            strict=True,
        )
    )
    for name, value in changes.items():
        next(group for group in (rule, limits, timing) if name in group)[name] = value
    words = tuple(rule.values()), tuple(limits.values()), tuple(timing.values())
    signed = client.connection.messages.set_parameters(*words, client.administration.nonce())
    send(client, "set_parameters", *words, approved(client, signed))


@refused("open", "ledger: a round is under way")
def change_the_rule_mid_round(client: Consortium) -> None:
    client.administration.set_parameters(Parameters())


WRONG_PARAMETERS = [
    ("reputation: start above 1", {"initial": SCALE + 1}),
    ("reputation: start above 1", {"reinstated": SCALE + 1}),
    ("reputation: factor above 1", {"growth": SCALE + 1}),
    ("reputation: factor above 1", {"rejection_keep": SCALE + 1}),
    ("reputation: factor above 1", {"repetition_step": SCALE + 1}),
    ("reputation: factor above 1", {"abnormal_keep": SCALE + 1}),
    ("reputation: floor above start", {"floor": SCALE, "initial": SCALE - 1}),
    ("reputation: floor above start", {"reinstated": 0}),
    ("reputation: probation too long", {"probation_rounds": 2**16}),
    ("ledger: limit above 1", {"accuracy_drop": SCALE + 1}),
    ("ledger: limit above 1", {"f1_drop": SCALE + 1}),
    ("ledger: loss limit too large", {"loss_rise": MAX_LOSS + 1}),
    ("ledger: quorum not in 1 to 32", {"quorum": 0}),
    ("ledger: quorum not in 1 to 32", {"quorum": 33}),
    ("ledger: too many blocks", {"open_blocks": 2**32}),
    ("ledger: too many blocks", {"dispute_blocks": 2**32}),
    ("ledger: too many blocks", {"quorum_blocks": 2**32}),
]
for _reason, _changes in WRONG_PARAMETERS:

    def _step(client: Consortium, changes: dict[str, int] = _changes) -> None:
        set_words(client, **changes)

    _step.__name__ = "parameters " + " ".join(_changes)
    refused("idle", _reason)(_step)


# ---- creation ----


def deploy(threshold: int, administrators: Sequence[Signer]) -> None:
    from ledger.chains.in_process import Genesis, InProcessChain, Transaction
    from ledger.protocol import contract

    members = Members.simulated(5, 1)
    chain = InProcessChain(Genesis(1, 1, (members.coordinator.address,)))
    rule, limits = Parameters().rule_words(), Parameters().limit_words()
    timing = Parameters().timing_words()
    keys = [signer.address for signer in administrators]
    keyed = (keys, threshold, members.coordinator.address)
    data = contract.encode_creation(*keyed, rule, limits, timing)
    chain.send([Transaction("__init__", b"", data)], members.coordinator)


@refused("idle", "membership: threshold of zero")
def create_without_threshold(client: Consortium) -> None:
    deploy(0, client.members.administrators)


@refused("idle", "membership: threshold above administrators")
def create_with_too_high_a_threshold(client: Consortium) -> None:
    deploy(4, client.members.administrators)


@refused("idle", "membership: key already used")
def create_with_one_administrator_twice(client: Consortium) -> None:
    deploy(2, [client.members.administrators[0]] * 2)
