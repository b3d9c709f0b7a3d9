"""Wrong steps around commitments under a root, attested shares and disputes."""

import dataclasses
from typing import Any

from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import Signer, simulation_key
from ledger.members.members import (
    COORDINATOR,
    HOSPITAL,
)
from ledger.protocol.commitments import SignedCommitment, pack, posted_proof, posted_root
from ledger.protocol.typed_data import to_words
from tests.ledger.conftest import MODEL, digest, roots, suspend_hospital_0
from tests.ledger.contracts.refusals import (
    STRANGER,
    Registry,
    pass_time,
    record,
    send,
)

REGISTRY = Registry()
refused, wrong = REGISTRY.refused, REGISTRY.wrong


# ---- shares attested ----


def attest(client: Consortium, node: int = 0, **changes: Any) -> None:
    """Node 0 attests that nobody's share opened, with one thing changed."""
    signer: Signer = changes.get("signer", client.members.nodes[0])
    digest_signed = client.connection.messages.opened(
        changes.get("signed_round", 1), changes.get("root", bytes(32)), []
    )
    entry = (node, to_words(changes.get("told", [])), *pair(signer.sign(digest_signed)))
    pass_time(client)
    send(client, "attest_shares", changes.get("round", 1), [entry])


wrong("attest_too_early", "open", "ledger: no dispute now", attest)
wrong("attest_next_round", "closed", "ledger: no dispute now", attest, round=2)
wrong("attest_by_nobody", "closed", "ledger: no such node", attest, node=2)
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


@refused("closed", "ledger: claims may still come")
def attest_while_the_omitted_may_claim(client: Consortium) -> None:
    """Hospital 3 has not committed."""
    send(client, "attest_shares", 1, [])


@refused("open", "ledger: claims may still come")
def attest_while_the_posted_may_claim(client: Consortium) -> None:
    """All are said to be under the root; whether that is so only they can say."""
    pass_time(client)
    post(client, 0, 1, 2, 3)
    send(client, "attest_shares", 1, [])


@refused("closed", "ledger: every node must attest its shares")
def record_before_shares(client: Consortium) -> None:
    attest(client)
    record(client)


@refused("closed", "ledger: verdict on unopened share")
def accept_an_unopened_share(client: Consortium) -> None:
    client.attest_shares(1, [[0, 1, 2], [1, 2]])
    record(client, accepted=[0], rejected=[])


@refused("closed", "ledger: verdict on unopened share")
def punish_an_unopened_share(client: Consortium) -> None:
    client.attest_shares(1, [[1, 2], [0, 1, 2]])
    record(client, accepted=[], rejected=[0])


@refused("closed", "ledger: no verdict on opened share")
def leave_out_an_opened_share(client: Consortium) -> None:
    client.attest_shares(1)
    record(client, accepted=[0], rejected=[2])


@refused("closed", "ledger: evidence may still come")
def record_before_a_denial_can_be_disputed(client: Consortium) -> None:
    client.attest_shares(1, [[0, 1, 2], [1, 2]])
    record(client, accepted=[1, 2], rejected=[])


# ---- disputes ----

ROOT, OTHER_ROOT = roots(1)[0], digest("another tree")


def blame_hospital_0(client: Consortium, **changes: Any) -> None:
    """Hospital 0 delivered a share under another root than it committed to: one thing changed."""
    hospital, delivered = changes.get("hospital", 0), changes.get("root", OTHER_ROOT)
    deliverer: Signer = changes.get("deliverer", client.members.hospitals[0])
    message = client.connection.messages.delivery(
        changes.get("signed_round", 1), 1, digest("share"), delivered
    )
    args = (hospital, changes.get("node", 1), digest("share"), delivered)
    send(client, "dispute_share", 1, *args, pair(deliverer.sign(message)))


wrong("dispute_too_early", "open", "ledger: no dispute now", blame_hospital_0)
wrong("dispute_too_late", "aggregated", "ledger: no dispute now", blame_hospital_0)
wrong("dispute_nobody", "shared", "ledger: no such hospital", blame_hospital_0, hospital=4)
wrong(
    "dispute_the_absent", "shared", "ledger: commitment is not known", blame_hospital_0, hospital=3
)
wrong(
    "dispute_what_was_committed",
    "shared",
    "ledger: delivered as committed",
    blame_hospital_0,
    root=ROOT,
)
wrong("dispute_at_another_node", "shared", "ledger: delivery not signed", blame_hospital_0, node=0)
wrong(
    "dispute_of_another_round",
    "shared",
    "ledger: delivery not signed",
    blame_hospital_0,
    signed_round=2,
)


@refused("closed", "ledger: delivery not signed")
def dispute_an_invented_share(client: Consortium) -> None:
    blame_hospital_0(client, deliverer=client.members.nodes[1])


@refused("closed", "ledger: delivery not signed")
def dispute_with_what_another_delivered(client: Consortium) -> None:
    blame_hospital_0(client, hospital=1)


@refused("closed", "ledger: accepted though at fault")
def accept_a_hospital_at_fault(client: Consortium) -> None:
    client.attest_shares(1)
    blame_hospital_0(client)
    record(client, accepted=[0, 1, 2], rejected=[])


@refused("closed", "ledger: already decided")
def dispute_twice(client: Consortium) -> None:
    blame_hospital_0(client)
    blame_hospital_0(client)


def deny(client: Consortium, **changes: Any) -> None:
    """Hospital 0 shows a receipt of node 1, which says that the share did not open."""
    client.attest_shares(1, [[0, 1, 2], changes.get("opened", [1, 2])])
    signer: Signer = changes.get("signer", client.members.nodes[1])
    message = client.connection.messages.receipt(
        1, changes.get("hospital", 0), digest("share"), changes.get("root", ROOT)
    )
    node = changes.get("node", 1)
    send(client, "dispute_denial", 1, 0, node, digest("share"), pair(signer.sign(message)))


wrong("deny_nothing", "closed", "ledger: node did not deny", deny, opened=[0, 1, 2])
wrong("deny_for_another", "closed", "ledger: receipt not signed", deny, hospital=1)
wrong("deny_another_root", "closed", "ledger: receipt not signed", deny, root=OTHER_ROOT)
wrong("deny_at_nobody", "closed", "ledger: node has not attested", deny, node=2)
wrong("deny_far_away", "closed", "ledger: node has not attested", deny, node=2**200)


@refused("closed", "ledger: receipt not signed")
def dispute_with_a_receipt_of_another_node(client: Consortium) -> None:
    deny(client, signer=client.members.nodes[0])


@refused("closed", "ledger: node did not deny")
def dispute_a_denial_twice(client: Consortium) -> None:
    deny(client)
    receipt = client.members.nodes[1].sign(
        client.connection.messages.receipt(1, 0, digest("share"), ROOT)
    )
    send(client, "dispute_denial", 1, 0, 1, digest("share"), pair(receipt))


# ---- commitments under a root ----


def signed(client: Consortium, *hospitals: int, round_number: int = 1) -> list[SignedCommitment]:
    return [client.sign_commitment(i, round_number, MODEL, roots(1)[i]) for i in hospitals]


def post(client: Consortium, *hospitals: int, **changes: Any) -> None:
    """Post the commitments of some hospitals, with one thing changed."""
    entries = signed(client, *hospitals)
    root = changes.get("root", posted_root(entries, 4))
    committed = to_words(changes.get("committed", hospitals))
    pass_time(client)
    send(client, "post_commitments", changes.get("round", 1), root, committed, pack(entries))


wrong("post_to_next_round", "open", "ledger: foreign round", post, 0, round=2)
wrong("post_late", "closed", "ledger: late commitment", post, 3)


@refused("open", "ledger: late commitment")
def post_twice(client: Consortium) -> None:
    post(client, 0)
    post(client, 1)


wrong("post_nothing", "open", "ledger: root of zero", post, 0, root=bytes(32))
wrong("post_nobody", "open", "ledger: no such hospital", post, 0, committed=[0, 4])
wrong("post_nobody_far_away", "open", "ledger: no such hospital", post, 0, committed=[0, 1023])


@refused("open", "ledger: commitments may still come")
def post_at_once(client: Consortium) -> None:
    """Even all: the contract does not see whether they really committed."""
    client.post_commitments(1, signed(client, 0, 1, 2, 3))


@refused("idle", "ledger: hospital is suspended")
def post_the_suspended(client: Consortium) -> None:
    suspend_hospital_0(client)
    post(client, 0, 1, round=3)


@refused("open", "membership: caller is not the coordinator")
def post_by_another(client: Consortium) -> None:
    client.administration.replace_key(COORDINATOR, 0, STRANGER.address)
    post(client, 0)


@refused("open", "membership: caller is not the coordinator")
def close_by_another(client: Consortium) -> None:
    client.administration.replace_key(COORDINATOR, 0, STRANGER.address)
    pass_time(client)
    client.submit_commitments(1, signed(client, 0), last=True)


def reveal(client: Consortium, shown: int, /, **changes: Any) -> None:
    """Post hospitals 0 and 1, then reveal one, with one thing changed."""
    post(client, 0, 1)
    (entry,) = signed(client, shown)
    deeper = changes.pop("deeper", 0)
    entry = dataclasses.replace(entry, **changes)
    proof = posted_proof(signed(client, 0, 1), 4, shown)
    proof = [*proof, bytes(32)][: len(proof) + deeper]
    send(client, "reveal_commitment", 1, entry.words(), proof)


wrong("reveal_the_absent", "open", "ledger: nothing to reveal", reveal, 2)


@refused("open", "ledger: nothing to reveal")
def reveal_twice(client: Consortium) -> None:
    reveal(client, 0)
    proof = posted_proof(signed(client, 0, 1), 4, 0)
    send(client, "reveal_commitment", 1, signed(client, 0)[0].words(), proof)


wrong("reveal_nobody", "open", "ledger: no such hospital", reveal, 0, hospital=4)
wrong("reveal_deeper", "open", "merkle: proof of another depth", reveal, 0, deeper=1)
wrong("reveal_higher", "open", "merkle: proof of another depth", reveal, 0, deeper=-1)
wrong("reveal_another_root", "open", "ledger: wrong proof", reveal, 0, root=digest("another"))
wrong("reveal_at_anothers_position", "open", "ledger: wrong proof", reveal, 0, hospital=1)


@refused("open", "ledger: no dispute now")
def reveal_too_early(client: Consortium) -> None:
    (entry,) = signed(client, 0)
    send(client, "reveal_commitment", 1, entry.words(), [])


@refused("open", "ledger: commitment is not known")
def dispute_before_revealing(client: Consortium) -> None:
    post(client, 0, 1)
    blame_hospital_0(client)


@refused("closed", "ledger: late claim")
def claim_too_late(client: Consortium) -> None:
    pass_time(client)
    client.claim_commitment(1, signed(client, 3)[0])


@refused("closed", "ledger: no such hospital")
def claim_for_nobody(client: Consortium) -> None:
    client.claim_commitment(1, dataclasses.replace(signed(client, 3)[0], hospital=4))


@refused("open", "ledger: no dispute now")
def claim_too_early(client: Consortium) -> None:
    client.claim_commitment(1, signed(client, 3)[0])


@refused("open", "ledger: second commitment")
def claim_what_is_there(client: Consortium) -> None:
    post(client, 0, 1)
    claim = ("claim_commitment", (1, signed(client, 2)[0].words()))
    client.connection.send([claim, claim])


@refused("open", "ledger: not signed by the hospital")
def claim_for_another_round(client: Consortium) -> None:
    post(client, 0, 1)
    client.claim_commitment(1, signed(client, 2, round_number=2)[0])


@refused("idle", "ledger: hospital is suspended")
def claim_while_suspended(client: Consortium) -> None:
    suspend_hospital_0(client)
    post(client, 1, round=3)
    client.claim_commitment(3, signed(client, 0)[0])


# ---- keys ----


@refused("open", "ledger: a round is under way")
def replace_a_key_within_a_round(client: Consortium) -> None:
    client.administration.replace_key(HOSPITAL, 0, simulation_key(77, "hospital", 0).address)
