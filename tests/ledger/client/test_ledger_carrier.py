"""A client that only carries: it has no member's key, and gets what the members signed."""

from collections.abc import Callable, Sequence

import pytest

from ledger.client.client import LedgerClient
from ledger.client.consortium import Consortium
from ledger.errors import Reverted, WrongMembers
from ledger.members.members import Roster
from ledger.protocol.reputation import Timing
from tests.ledger.conftest import CANDIDATE, GOOD, MODEL, RESULT, digest, roots

FLAGS = [True, True, True, None]


def height(client: LedgerClient) -> int:
    return int(client.connection.chain.height)


def timing(client: LedgerClient) -> Timing:
    return Timing(*client.connection.read("timing"))


@pytest.fixture
def three_of_four(client: Consortium) -> LedgerClient:
    """A carrier after three of four hospitals committed: the fourth may still claim."""
    carrier = client.carrier()
    carrier.open_round(1, MODEL)
    signed = [client.sign_commitment(i, 1, MODEL, roots(1)[i]) for i in range(3)]
    assert carrier.close_commitments(1, signed) == {}
    return carrier


def result_signed(client: Consortium) -> Sequence[object]:
    said = (RESULT, CANDIDATE, (0, 1, 2), ())
    return [node.result(1, *said) for node in client.nodes]


def test_what_cannot_be_is_refused_by_name_and_nothing_is_sent(
    client: Consortium, three_of_four: LedgerClient
) -> None:
    carrier, signed = three_of_four, result_signed(client)
    stated = client.statements(1)
    before = height(carrier)

    def refused(message: str, step: Callable[[], object]) -> None:
        with pytest.raises(ValueError, match=message):
            step()
        assert height(carrier) == before

    def record(result: bytes, model: bytes, flags: Sequence[bool | None]) -> Callable[[], None]:
        return lambda: carrier.record_aggregate(1, result, flags, model, signed, stated)

    refused("result_hash must be 32 bytes; got 31", record(RESULT[1:], CANDIDATE, FLAGS))
    refused("model_hash must be 32 bytes; got 31", record(RESULT, CANDIDATE[1:], FLAGS))
    refused("hospital must be 0 to 3; got 4", record(RESULT, CANDIDATE, [*FLAGS, True]))
    one = stated[:1]
    refused("opened must be 2 nodes' statements; got 1", lambda: carrier.attest_shares(1, one))
    refused("root of hospital 0 must be 32 bytes; got 3", lambda: client.commit(1, {0: b"abc"}))


@pytest.mark.parametrize("step", ["commitments", "attest_shares", "record_aggregate"])
def test_each_step_waits_until_no_hospital_can_claim(
    step: str, client: Consortium, three_of_four: LedgerClient
) -> None:
    """As long as the contract says, and not a block longer; then the fourth comes too late."""
    carrier = three_of_four
    since, blocks = carrier.connection.read("since"), timing(carrier).dispute_blocks
    late = client.sign_commitment(3, 1, MODEL, roots(1)[3])
    if step == "commitments":
        assert carrier.commitments(1) == {i: roots(1)[i] for i in range(3)}
        assert height(carrier) == since + blocks
    elif step == "attest_shares":
        carrier.attest_shares(1, client.statements(1))
        assert height(carrier) == since + blocks + 1
    else:
        signed, stated = result_signed(client), client.statements(1)
        carrier.record_aggregate(1, RESULT, FLAGS, CANDIDATE, signed, stated)
    with pytest.raises(Reverted):
        carrier.claim_commitment(1, late)


def test_a_round_that_all_attested_ends_at_once(to_phase: Callable[[str], Consortium]) -> None:
    client = to_phase("attested")
    before = height(client)
    client.finalize(1)
    assert height(client) == before + 1


def test_a_round_that_a_quorum_attested_waits_for_the_others(
    to_phase: Callable[[str], Consortium],
) -> None:
    client = to_phase("aggregated")
    client.attest(1, [*GOOD[:2], None], CANDIDATE)
    before = height(client)
    client.finalize(1)
    assert height(client) >= before + timing(client).quorum_blocks


def test_seats_of_others_are_noticed(client: Consortium) -> None:
    roster = client.roster
    client.connection.require_seats(roster)
    fewer = replace_seats(client, roster.hospitals[:-1])
    with pytest.raises(WrongMembers, match=r"seats 4 hospital\(s\), not 3"):
        client.connection.require_seats(fewer)
    other = replace_seats(client, (*roster.hospitals[:2], digest("x")[:20], roster.hospitals[3]))
    with pytest.raises(WrongMembers, match="as hospital 2, not 0x" + digest("x")[:20].hex()):
        client.connection.require_seats(other)


def replace_seats(client: Consortium, hospitals: tuple[bytes, ...]) -> Roster:
    """The consortium's seats with other hospitals."""
    known = client.roster
    return Roster(known.administrators, known.coordinator, hospitals, known.nodes, known.validators)


def test_standings_of_fewer_hospitals_are_fewer(client: Consortium) -> None:
    """What is remembered of the newest block is not told for another number of hospitals."""
    assert len(client.connection.standings(4).reputations) == 4
    assert len(client.connection.standings(2).reputations) == 2
    assert client.connection.standings(2) is client.connection.standings(2)
