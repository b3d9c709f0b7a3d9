"""Statements and evidence that were signed elsewhere, and how the contract rules on evidence."""

import dataclasses

import pytest

import ledger
from ledger.client.consortium import Consortium
from ledger.members.keystore import write_members
from ledger.members.members import NODE, Members
from ledger.protocol.disputes import DeniedShare, Ruling, SignedOpened, WrongShare
from tests.ledger.conftest import (
    CANDIDATE,
    GOOD,
    HOSPITALS,
    MODEL,
    RESULT,
    digest,
    roots,
    small_chain,
)

EVERYBODY = tuple(range(HOSPITALS))


@pytest.fixture(params=["each", "merkle"])
def closed(request: pytest.FixtureRequest) -> tuple[Consortium, Members]:
    """A round after its commitments, in a process that does not hold the nodes' keys."""
    client = small_chain(seed=31, mode=request.param)
    members = client.members
    client.members = members.without_node_keys()
    client.open_round(1, MODEL)
    client.commit(1, roots(1))
    return client, members


def statement(
    client: Consortium, members: Members, node: int, opened: tuple[int, ...]
) -> SignedOpened:
    message = client.connection.messages.opened(1, client.posted_root(), opened)
    return SignedOpened(node, opened, members.nodes[node].sign(message))


def wrong_share(client: Consortium, members: Members, root: bytes) -> WrongShare:
    """What hospital 0 signed with the share that it delivered to node 1."""
    message = client.connection.messages.delivery(1, 1, digest("share"), root)
    return WrongShare(0, 1, digest("share"), root, members.hospitals[0].sign(message))


def denied_share(client: Consortium, members: Members) -> DeniedShare:
    """Hospital 2 holds node 1's receipt."""
    message = client.connection.messages.receipt(1, 2, digest("share"), roots(1)[2])
    return DeniedShare(2, 1, digest("share"), members.nodes[1].sign(message))


def test_a_round_with_signatures_made_elsewhere(closed: tuple[Consortium, Members]) -> None:
    client, members = closed
    client.attest_shares(1, [statement(client, members, node, EVERYBODY) for node in range(2)])
    message = client.connection.messages.result(1, RESULT, CANDIDATE, [0, 1, 2], [3])
    signatures = [node.sign(message) for node in members.nodes]
    verdict = [True, True, True, False]
    with pytest.raises(ledger.Reverted, match="not signed by the node"):
        client.record_aggregate(1, RESULT, verdict, CANDIDATE, signatures[::-1])
    with pytest.raises(ledger.Reverted, match="every node must sign"):
        client.record_aggregate(1, RESULT, verdict, CANDIDATE, signatures[:1])
    client.record_aggregate(1, RESULT, verdict, CANDIDATE, signatures)
    client.attest(1, GOOD, CANDIDATE)
    assert client.finalize(1).reputations == [1.0, 1.0, 1.0, 0.5]


def test_statements_need_the_nodes_own_signatures(closed: tuple[Consortium, Members]) -> None:
    client, members = closed
    swapped = [statement(client, members, node, EVERYBODY) for node in (1, 0)]
    forged = [dataclasses.replace(said, node=i) for i, said in enumerate(swapped)]
    with pytest.raises(ledger.Reverted, match="not signed by the node"):
        client.attest_shares(1, forged)
    with pytest.raises(ledger.LedgerError, match=r"key of 0x[0-9a-f]{40} is held by another proc"):
        client.attest_shares(1, [EVERYBODY, EVERYBODY])
    with pytest.raises(ValueError, match="opened must be 2 nodes' sets; got 1"):
        client.attest_shares(1, [statement(client, members, 0, EVERYBODY)])


def test_rulings(closed: tuple[Consortium, Members]) -> None:
    """Evidence is decided piece by piece; what is none is refused, and the others stand."""
    client, members = closed
    client.attest_shares(
        1, [statement(client, members, 0, EVERYBODY), statement(client, members, 1, (1, 3))]
    )
    good = wrong_share(client, members, digest("another tree"))
    unsigned = dataclasses.replace(good, digest=digest("another share"))
    unproven = dataclasses.replace(denied_share(client, members), digest=digest("another share"))
    pieces = [unsigned, unproven, good, denied_share(client, members), good]
    rulings = client.dispute(1, pieces)
    assert rulings == [
        Ruling(0, 1, "", rulings[0].reason),
        Ruling(2, 1, "", rulings[1].reason),
        Ruling(0, 1, "hospital"),
        Ruling(2, 1, "node"),
        Ruling(0, 1, "", rulings[4].reason),
    ]
    reasons = [rulings[i].reason.rpartition("ledger: ")[2] for i in (0, 1, 4)]
    assert reasons == ["delivery not signed", "receipt not signed", "already decided"]
    assert client.connection.read("fault_count", NODE, 1) == 1


def test_a_delivery_as_committed_is_no_evidence(closed: tuple[Consortium, Members]) -> None:
    client, members = closed
    client.attest_shares(1, [statement(client, members, node, (1, 2, 3)) for node in range(2)])
    (ruling,) = client.dispute(1, [wrong_share(client, members, roots(1)[0])])
    assert ruling.at_fault == ""
    assert ruling.reason.endswith("ledger: delivered as committed")
    assert client.connection.read("fault_count", NODE, 1) == 0


def test_members_without_keys_are_the_same_members(tmp_path: object) -> None:
    members = Members.simulated(3, 4)
    public = members.without_node_keys()
    assert [n.address for n in public.nodes] == [n.address for n in members.nodes]
    assert public.hospitals == members.hospitals
    assert "secret" not in repr(public.nodes)
    with pytest.raises(ledger.LedgerError, match="is held by another process"):
        public.nodes[0].sign(bytes(32))
    with pytest.raises(ledger.LedgerError, match="is held by another process"):
        write_members(public, tmp_path / "keys", "words", work_factor=2)  # type: ignore[operator]
