"""Wrong steps around commitments under a root, attested shares and disputes."""

import dataclasses
from typing import Any

from ledger.administration import pair
from ledger.client import LedgerClient
from ledger.commitments import SignedCommitment, pack, posted_proof, posted_root
from ledger.keys import Signer, simulation_key
from ledger.members import (
    COORDINATOR,
    HOSPITAL,
)
from ledger.merkle import merkle_proof, merkle_root
from ledger.typed_data import to_words
from tests.ledger.conftest import MODEL, digest, roots, suspend_hospital_0
from tests.ledger.refusals import (
    STRANGER,
    Registry,
    commit,
    record,
    send,
)

REGISTRY = Registry()
refused, wrong = REGISTRY.refused, REGISTRY.wrong


# ---- shares attested ----


def attest(client: LedgerClient, node: int = 0, **changes: Any) -> None:
    """Node 0 attests that nobody's share opened, with one thing changed."""
    signer: Signer = changes.get("signer", client.members.nodes[0])
    digest_signed = client.connection.messages.opened(
        changes.get("signed_round", 1), changes.get("root", bytes(32)), []
    )
    entry = (node, to_words(changes.get("told", [])), *pair(signer.sign(digest_signed)))
    entries = [entry] * changes.get("times", 1)
    send(client, "attest_shares", changes.get("round", 1), entries)


wrong("attest_too_early", "open", "ledger: no dispute now", attest)
wrong("attest_next_round", "closed", "ledger: no dispute now", attest, round=2)
wrong("attest_by_nobody", "closed", "ledger: no such node", attest, node=2)
wrong("attest_twice", "closed", "ledger: second attestation", attest, times=2)
wrong("attest_for_another_node", "closed", "ledger: not signed by the node", attest, node=1)
wrong("attest_other_hospitals", "closed", "ledger: not signed by the node", attest, told=[0])
wrong(
    "attest_signed_for_another_round",
    "closed",
    "ledger: not signed by the node",
    attest,
    signed_round=2,
)
wrong(
    "attest_signed_for_another_root",
    "closed",
    "ledger: not signed by the node",
    attest,
    root=digest("root"),
)


@refused("closed", "ledger: every node must attest its shares")
def record_before_shares(client: LedgerClient) -> None:
    attest(client)
    record(client)


@refused("closed", "ledger: verdict on unopened share")
def accept_an_unopened_share(client: LedgerClient) -> None:
    client.attest_shares(1, [[0, 1, 2], [1, 2]])
    record(client, accepted=[0], rejected=[])


@refused("closed", "ledger: verdict on unopened share")
def punish_an_unopened_share(client: LedgerClient) -> None:
    client.attest_shares(1, [[1, 2], [0, 1, 2]])
    record(client, accepted=[], rejected=[0])


# ---- disputes ----


def dispute(client: LedgerClient, **changes: Any) -> None:
    """Node 1 accuses hospital 0 of a share that its commitment, which is no tree, does not hold."""
    hospital, node = changes.get("hospital", 0), changes.get("node", 1)
    delivered = digest("delivered")
    messages = client.connection.messages
    delivery = client.members.hospitals[0].sign(messages.delivery(1, node, delivered))
    accusation = client.members.nodes[1].sign(messages.accusation(1, hospital, node, delivered))
    leaf, proof = digest("leaf"), changes.get("proof", [digest("sibling")])
    args = (1, hospital, node, delivered, pair(delivery), pair(accusation), leaf, proof)
    send(client, "dispute_share", *args)


wrong("dispute_too_early", "open", "ledger: no dispute now", dispute)
wrong("dispute_too_late", "aggregated", "ledger: no dispute now", dispute)
wrong("dispute_nobody", "shared", "ledger: no such hospital", dispute, hospital=4)
wrong("dispute_by_nobody", "shared", "ledger: node has not attested", dispute, node=2)
wrong("dispute_the_absent", "shared", "ledger: commitment is not known", dispute, hospital=3)
wrong("dispute_with_wrong_proof", "shared", "ledger: wrong proof", dispute)
wrong("dispute_with_short_proof", "shared", "merkle: index outside the tree", dispute, proof=[])
wrong("dispute_before_attesting", "closed", "ledger: node has not attested", dispute)


LEAVES = [digest("share", node) for node in range(2)]


def blame_hospital_0(client: LedgerClient, **changes: Signer) -> None:
    """Hospital 0 sends node 1 another share than it committed to, and is found at fault."""
    messages, delivered = client.connection.messages, digest("delivered")
    deliverer = changes.get("deliverer", client.members.hospitals[0])
    accuser = changes.get("accuser", client.members.nodes[1])
    delivery = deliverer.sign(messages.delivery(1, 1, delivered))
    accusation = accuser.sign(messages.accusation(1, 0, 1, delivered))
    proof = merkle_proof(LEAVES, 1)
    args = (1, 0, 1, delivered, pair(delivery), pair(accusation), LEAVES[1], proof)
    send(client, "dispute_share", *args)


def commit_and_attest(client: LedgerClient, opened: list[int]) -> None:
    commit(client, 0, root=merkle_root(LEAVES))
    client.attest_shares(1, [opened, opened])


@refused("open", "ledger: delivery not signed")
def dispute_an_invented_share(client: LedgerClient) -> None:
    commit_and_attest(client, [])
    blame_hospital_0(client, deliverer=client.members.nodes[1])


@refused("open", "ledger: accusation not signed")
def dispute_in_anothers_name(client: LedgerClient) -> None:
    commit_and_attest(client, [])
    blame_hospital_0(client, accuser=client.members.nodes[0])


@refused("open", "ledger: accepted though at fault")
def accept_a_hospital_at_fault(client: LedgerClient) -> None:
    commit_and_attest(client, [0])
    blame_hospital_0(client)
    record(client, accepted=[0], rejected=[])


@refused("open", "ledger: already decided")
def dispute_twice(client: LedgerClient) -> None:
    commit_and_attest(client, [0])
    blame_hospital_0(client)
    blame_hospital_0(client)


def deny(client: LedgerClient, signer: Signer, opened: list[int], hospital: int = 0) -> None:
    """Hospital 0 shows a receipt for its share at node 1."""
    commit_and_attest(client, opened)
    receipt = pair(signer.sign(client.connection.messages.receipt(1, hospital, LEAVES[1])))
    send(client, "dispute_denial", 1, 0, 1, LEAVES[1], merkle_proof(LEAVES, 1), receipt)


@refused("open", "ledger: node did not deny")
def dispute_what_was_not_denied(client: LedgerClient) -> None:
    deny(client, client.members.nodes[1], [0])


@refused("open", "ledger: receipt not signed")
def dispute_with_a_receipt_of_another_node(client: LedgerClient) -> None:
    deny(client, client.members.nodes[0], [])


@refused("open", "ledger: receipt not signed")
def dispute_with_a_receipt_for_another_hospital(client: LedgerClient) -> None:
    deny(client, client.members.nodes[1], [], hospital=1)


# ---- commitments under a root ----


def signed(client: LedgerClient, *hospitals: int, round_number: int = 1) -> list[SignedCommitment]:
    return [client.sign_commitment(i, round_number, MODEL, roots(1)[i]) for i in hospitals]


def post(client: LedgerClient, *hospitals: int, **changes: Any) -> None:
    """Post the commitments of some hospitals, with one thing changed."""
    entries = signed(client, *hospitals)
    root = changes.get("root", posted_root(entries, 4))
    committed = to_words(changes.get("committed", hospitals))
    send(client, "post_commitments", changes.get("round", 1), root, committed, pack(entries))


wrong("post_to_next_round", "open", "ledger: foreign round", post, 0, round=2)
wrong("post_late", "closed", "ledger: late commitment", post, 3)


@refused("open", "ledger: late commitment")
def post_twice(client: LedgerClient) -> None:
    post(client, 0)
    post(client, 1)


wrong("post_nothing", "open", "ledger: root of zero", post, 0, root=bytes(32))
wrong("post_nobody", "open", "ledger: no such hospital", post, 0, committed=[0, 4])
wrong("post_nobody_far_away", "open", "ledger: no such hospital", post, 0, committed=[0, 1023])


@refused("open", "ledger: second commitment")
def post_who_committed_already(client: LedgerClient) -> None:
    client.submit_commitments(1, signed(client, 0), last=False)
    post(client, 0, 1)


@refused("idle", "ledger: hospital is suspended")
def post_the_suspended(client: LedgerClient) -> None:
    suspend_hospital_0(client)
    post(client, 0, 1, round=3)


@refused("open", "membership: caller is not the coordinator")
def post_by_another(client: LedgerClient) -> None:
    client.administration.replace_key(COORDINATOR, 0, STRANGER.address)
    post(client, 0)


@refused("open", "membership: caller is not the coordinator")
def close_by_another(client: LedgerClient) -> None:
    client.administration.replace_key(COORDINATOR, 0, STRANGER.address)
    client.submit_commitments(1, signed(client, 0), last=True)


def reveal(client: LedgerClient, shown: int, /, **changes: Any) -> None:
    """Post hospitals 0 and 1, then reveal one, with one thing changed."""
    post(client, 0, 1)
    (entry,) = signed(client, shown)
    entry = dataclasses.replace(entry, **changes)
    proof = posted_proof(signed(client, 0, 1), 4, shown)
    send(client, "reveal_commitment", 1, entry.words(), proof)


wrong("reveal_the_absent", "open", "ledger: nothing to reveal", reveal, 2)


@refused("open", "ledger: nothing to reveal")
def reveal_twice(client: LedgerClient) -> None:
    reveal(client, 0)
    proof = posted_proof(signed(client, 0, 1), 4, 0)
    send(client, "reveal_commitment", 1, signed(client, 0)[0].words(), proof)


wrong("reveal_nobody", "open", "ledger: no such hospital", reveal, 0, hospital=4)
wrong("reveal_another_root", "open", "ledger: wrong proof", reveal, 0, root=digest("another"))
wrong("reveal_at_anothers_position", "open", "ledger: wrong proof", reveal, 0, hospital=1)


@refused("open", "ledger: no dispute now")
def reveal_too_early(client: LedgerClient) -> None:
    (entry,) = signed(client, 0)
    send(client, "reveal_commitment", 1, entry.words(), [])


@refused("open", "ledger: commitment is not known")
def dispute_before_revealing(client: LedgerClient) -> None:
    post(client, 0, 1)
    client.attest_shares(1)
    blame_hospital_0(client)


@refused("closed", "ledger: commitments were verified")
def claim_though_each_was_verified(client: LedgerClient) -> None:
    client.claim_commitment(1, signed(client, 3)[0])


@refused("open", "ledger: no dispute now")
def claim_too_early(client: LedgerClient) -> None:
    client.claim_commitment(1, signed(client, 3)[0])


@refused("open", "ledger: second commitment")
def claim_what_is_there(client: LedgerClient) -> None:
    post(client, 0, 1)
    client.claim_commitment(1, signed(client, 1)[0])


@refused("open", "ledger: not signed by the hospital")
def claim_for_another_round(client: LedgerClient) -> None:
    post(client, 0, 1)
    client.claim_commitment(1, signed(client, 2, round_number=2)[0])


@refused("idle", "ledger: hospital is suspended")
def claim_while_suspended(client: LedgerClient) -> None:
    suspend_hospital_0(client)
    post(client, 1, round=3)
    client.claim_commitment(3, signed(client, 0)[0])


# ---- keys ----


@refused("open", "ledger: a round is under way")
def replace_a_key_within_a_round(client: LedgerClient) -> None:
    client.administration.replace_key(HOSPITAL, 0, simulation_key(77, "hospital", 0).address)
