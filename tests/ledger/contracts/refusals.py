"""What the tests of refusals share: a registry of wrong steps, and right steps to make wrong."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import pytest

import ledger
from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import Signer, simulation_key
from ledger.protocol.messages import approvals
from ledger.protocol.typed_data import to_words
from tests.ledger.conftest import CANDIDATE, MODEL, RESULT, digest

Step = Callable[[Consortium], None]
STRANGER = simulation_key(99, "stranger", 0)


class Registry:
    """Cases of wrong steps: the phase, the contract's words, the step."""

    def __init__(self) -> None:
        self.cases: list[Any] = []

    def refused(self, phase: str, reason: str) -> Callable[[Step], Step]:
        """Decorator that adds a step which must be refused in a phase."""

        def register(step: Step) -> Step:
            self.cases.append(pytest.param(phase, reason, step, id=step.__name__))
            return step

        return register

    def wrong(
        self, name: str, phase: str, reason: str, call: Callable[..., Any], *args: Any, **kw: Any
    ) -> None:
        """Add a call, `call(client, *args, **kw)`, which must be refused in a phase."""
        self.cases.append(
            pytest.param(phase, reason, lambda client: call(client, *args, **kw), id=name)
        )


def reason_of(step: Step, client: Consortium) -> str:
    """The contract's words on a step that it must refuse."""
    with pytest.raises(ledger.Reverted) as caught:
        step(client)
    return caught.value.reason


def send(client: Consortium, name: str, *args: Any) -> None:
    client.connection.send([(name, args)])


def pass_time(client: Consortium) -> None:
    """Let the block go by that a round waits between two steps."""
    client.connection.reach(client.connection.chain.height + 2)


def approved(client: Consortium, digest: bytes, signers: Sequence[Signer] | None = None) -> Any:
    signers = client.members.administrators[:2] if signers is None else signers
    return [pair(signature) for signature in approvals(signers, digest)]


def commit(client: Consortium, *hospitals: int, **changes: Any) -> None:
    """Commit for some hospitals, with one thing changed."""
    round_number, model = changes.get("round", 1), changes.get("model", MODEL)
    signed = [
        client.sign_commitment(
            hospital, changes.get("signed_round", round_number), model, root, changes.get("signer")
        )
        for hospital in hospitals
        for root in [changes.get("root", digest("root", hospital))]
    ]
    changed = {"hospital": changes["claim"]} if "claim" in changes else {}
    signed = [dataclasses.replace(commitment, **changed) for commitment in signed]
    pass_time(client)
    client.submit_commitments(round_number, signed)


def record(client: Consortium, **changes: Any) -> None:
    good, bad = changes.get("accepted", [0]), changes.get("rejected", [1, 2])
    round_number = changes.get("round", 1)
    candidate = changes.get("candidate", CANDIDATE)
    signed = client.connection.messages.result(
        changes.get("signed_round", round_number), RESULT, candidate, good, bad
    )
    signers = changes.get("signers", client.members.nodes)
    words = (to_words(good), to_words(bad))
    signatures = [pair(signer.sign(signed)) for signer in signers]
    send(client, "record_aggregate", round_number, RESULT, candidate, *words, signatures)
