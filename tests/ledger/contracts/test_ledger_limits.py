"""What the contract does not hold a coordinator to: the limits that docs/ledger.md names."""

from pathlib import Path
from typing import Any

import pytest

import ledger
from ledger.audit.chain_file import audit
from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import Signer, simulation_key
from ledger.members.members import COORDINATOR
from ledger.protocol.commitments import SignedCommitment, pack, posted_root
from ledger.protocol.typed_data import to_words
from tests.ledger.conftest import (
    CANDIDATE,
    GOOD,
    HOSPITALS,
    RESULT,
    digest,
    play_round,
    roots,
    small_chain,
)
from tests.ledger.contracts.refusals import pass_time

BYSTANDER = simulation_key(50, "bystander", 0)


def begun(mode: str) -> Consortium:
    """A consortium after one good round."""
    client = small_chain(seed=21, mode=mode)
    play_round(client, 1)
    return client


def stated(client: Consortium, opened: list[int], root: bytes) -> tuple[str, tuple[Any, ...]]:
    """Every node's statement on the shares of round 2, as one call."""
    said = client.connection.messages.opened(2, root, opened)
    states = [
        (i, to_words(opened), *pair(node.sign(said))) for i, node in enumerate(client.members.nodes)
    ]
    return "attest_shares", (2, states)


def judged(client: Consortium, good: list[int], bad: list[int]) -> tuple[str, tuple[Any, ...]]:
    """The aggregate of round 2, signed by every node."""
    said = client.connection.messages.result(2, RESULT, CANDIDATE, good, bad)
    signed = [pair(node.sign(said)) for node in client.members.nodes]
    return "record_aggregate", (2, RESULT, CANDIDATE, to_words(good), to_words(bad), signed)


def test_a_leaf_that_was_kept_back_is_found_by_the_audit_alone(tmp_path: Path) -> None:
    """Nobody can reveal what the list beside the root lacks."""
    client = begun("merkle")
    messages = client.connection.messages
    last, given = HOSPITALS - 1, roots(2)
    client.open_round(2, client.model_hash)
    pass_time(client)

    def made(hospital: int, signer: Signer, said: bytes) -> SignedCommitment:
        return SignedCommitment(hospital, given[hospital], signer.sign(said))

    said = {h: messages.commitment(2, client.model_hash, given[h]) for h in given}
    shown = [made(h, client.members.hospitals[h], said[h]) for h in range(last)]
    kept_back = made(last, BYSTANDER, bytes(32))
    root = posted_root([*shown, kept_back], HOSPITALS)
    everybody = list(range(HOSPITALS))
    client.connection.send([("post_commitments", (2, root, to_words(everybody), pack(shown)))])
    pass_time(client)
    client.connection.send([stated(client, everybody, root)])
    client.connection.send([judged(client, everybody[:last], [last])])
    client.attest(2, GOOD, CANDIDATE)
    outcome = client.finalize(2)
    assert outcome.reputations[last] < 1.0
    assert client.connection.read("fault_count", COORDINATOR, 0) == 0
    client.export(tmp_path / "chain.jsonl")
    found = [each.fault for each in audit(tmp_path / "chain.jsonl").faults]
    assert "the root is not that of the commitments posted with it" in found
    assert "the commitments posted are not those of the hospitals named" in found


def test_evidence_against_a_hospital_has_no_block_of_its_own() -> None:
    """The coordinator may record the aggregate at once."""
    client = begun("each")
    messages = client.connection.messages
    everybody, given = list(range(HOSPITALS)), roots(2)
    client.open_round(2, client.model_hash)
    commitments = [
        SignedCommitment(
            h,
            given[h],
            client.members.hospitals[h].sign(messages.commitment(2, client.model_hash, given[h])),
        ).words()
        for h in everybody
    ]
    closing = ("commit_batch", (2, commitments, True))
    client.connection.send(
        [closing, stated(client, everybody, bytes(32)), judged(client, everybody, [])]
    )
    said = (digest("share"), digest("another tree"))
    delivery = client.members.hospitals[0].sign(messages.delivery(2, 1, *said))
    with pytest.raises(ledger.Reverted, match="no dispute now"):
        client.connection.send([("dispute_share", (2, 0, 1, *said, pair(delivery)))])
