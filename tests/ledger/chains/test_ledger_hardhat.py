"""The client on a second kind of EVM node, which takes a batch's requests in any order, queues no
transaction that comes early, and wants a tip."""

from collections.abc import Iterator
from pathlib import Path

import pytest

import ledger
from ledger.audit.chain_file import audit
from ledger.chains.node import NodeChain
from ledger.members.members import Members
from ledger.protocol.parameters import Parameters
from tests.ledger.conftest import HOSPITALS, NODES, VALIDATORS, play_round, small_chain
from tests.support import hardhat
from tests.support.forwarder import forwarding

pytestmark = pytest.mark.timeout(300)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with hardhat.serving() as url:
        yield url


@pytest.mark.parametrize("mode", ["each", "merkle"])
def test_rounds_export_and_audit_come_out_the_same(url: str, mode: str, tmp_path: Path) -> None:
    keys = Members.simulated(len(mode), HOSPITALS, NODES, VALIDATORS)
    NodeChain(url, hardhat.CHAIN_ID).fund_on_development_node(keys.coordinator.address)
    here = small_chain(seed=len(mode), mode=mode)
    there = ledger.connect(
        url, keys, chain_id=hardhat.CHAIN_ID, parameters=Parameters(quorum=2), mode=mode
    )
    for number, verdict in enumerate([[False, True, True, None], [False, True, False, True]], 1):
        metrics = [(0.8 - 0.1 * number, 0.5, 0.7)] * VALIDATORS
        assert play_round(here, number, verdict, metrics) == play_round(
            there, number, verdict, metrics
        )
    assert there.reputations() == here.reputations()
    there.export(tmp_path / "chain.jsonl")
    report = audit(tmp_path / "chain.jsonl")
    assert report.faults == []
    assert len(report.rounds) == 2


def test_a_batch_may_be_taken_from_its_end(url: str) -> None:
    """Then every transaction but the first comes early, and is refused until it is sent again."""
    keys = Members.simulated(5, HOSPITALS, NODES, VALIDATORS)
    NodeChain(url, hardhat.CHAIN_ID).fund_on_development_node(keys.coordinator.address)
    with forwarding(url, backwards=True) as backwards:
        client = ledger.connect(
            backwards, keys, chain_id=hardhat.CHAIN_ID, parameters=Parameters(quorum=2)
        )
        assert play_round(client, 1).status == "accepted"
        assert play_round(client, 2).status == "accepted"
        # Creation, three registrations, and six transactions a round: none is there twice.
        assert client.connection.chain.nonce(keys.coordinator.address) == 4 + 6 * 2
