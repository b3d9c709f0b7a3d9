"""Whose shares count after what nodes said and the contract ruled, on a real chain."""

from __future__ import annotations

from typing import NamedTuple

import pytest

import ledger
from ledger.members.keys import simulation_key
from ledger.protocol.disputes import DeniedShare, SignedOpened, WrongShare
from secure_fl.backends.statements import Findings, Signed
from secure_fl.files import sha256
from secure_fl.server.validation import Verdict
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.simulation.round_ledger import Chain, Decision, Nobody, Settlement

N, SEED = 4, 5
NODES = [simulation_key(SEED, "node", rank) for rank in range(2)]
EVERYBODY = tuple(range(N))
MODEL, CANDIDATE, RESULT = (sha256(text) for text in (b"model", b"candidate", b"result"))
SHARE = bytes(31) + b"s"
GOOD = [Verdict(0.8, 0.5, 0.7)] * 3


class Opened(NamedTuple):
    """A round whose commitments are on the chain, the nodes' keys elsewhere."""

    chain: Chain

    def said(self, *sets: tuple[int, ...]) -> tuple[SignedOpened, ...]:
        root = self.chain.posted_root
        return tuple(
            SignedOpened(
                rank,
                members,
                NODES[rank].sign(self.chain.contract.messages.opened(1, root, members)),
            )
            for rank, members in enumerate(sets)
        )

    def wrong_share(self, hospital: int, node: int, root: bytes) -> WrongShare:
        message = self.chain.contract.messages.delivery(1, node, SHARE, root)
        return WrongShare(
            hospital, node, SHARE, root, self.chain.client.members.hospitals[hospital].sign(message)
        )

    def denial(self, hospital: int, node: int) -> DeniedShare:
        message = self.chain.contract.messages.receipt(1, hospital, SHARE, root_of(hospital))
        return DeniedShare(hospital, node, SHARE, NODES[node].sign(message))

    def signed(self, accepted: list[int], rejected: list[int]) -> Signed:
        result, candidate = bytes.fromhex(RESULT), bytes.fromhex(CANDIDATE)
        message = self.chain.contract.messages.result(1, result, candidate, accepted, rejected)
        return Signed(tuple(node.sign(message) for node in NODES), 2.0)


def root_of(hospital: int) -> bytes:
    return bytes.fromhex(sha256(f"shares of {hospital}".encode()))


@pytest.fixture(params=["each", "merkle"])
def opened(request: pytest.FixtureRequest) -> Opened:
    chain = Chain(LedgerConfig(mode=request.param, quorum=2), N, 3, 2, SEED)
    chain.entrust_nodes()
    chain.open_round(1, MODEL)
    recorded = chain.commit(1, {h: root_of(h) for h in EVERYBODY})
    assert sorted(recorded or {}) == list(EVERYBODY)
    assert any(chain.posted_root) == (request.param == "merkle")
    return Opened(chain)


def test_shares_count_that_opened_everywhere(opened: Opened) -> None:
    before = opened.chain.cost_ms
    findings = Findings(opened.said((0, 1, 2), (0, 2, 3)), (), (), {}, 1000.0)
    settled = opened.chain.settle(1, EVERYBODY, findings)
    assert settled == Settlement({0, 2})
    assert opened.chain.cost_ms > before + 1000
    decision = opened.chain.decide(
        1, RESULT, [True, None, False, None], CANDIDATE, GOOD, opened.signed([0], [2])
    )
    assert decision.reputation == [1.0, 1.0, 0.5, 1.0]
    assert decision.status == "accepted"


def test_a_ruling_against_a_node_counts_the_share(opened: Opened) -> None:
    findings = Findings(
        opened.said((0, 3), (0, 1, 3)),
        (opened.wrong_share(1, 0, root_of(1)),),
        (opened.denial(1, 0), opened.denial(2, 0), opened.denial(2, 1)),
        {},
        0.0,
    )
    settled = opened.chain.settle(1, EVERYBODY, findings)
    assert settled.in_play == {0, 1, 2, 3}
    assert settled.ruled == ((1, 0), (2, 0), (2, 1))
    # What a node shows against a hospital that delivered as it committed proves nothing.
    assert [ruling.at_fault for ruling in settled.rulings] == ["", "node", "node", "node"]
    accepted = list(EVERYBODY)
    decision = opened.chain.decide(
        1, RESULT, [True] * N, CANDIDATE, GOOD, opened.signed(accepted, [])
    )
    assert decision.reputation == [1.0] * N


def test_a_ruling_at_one_node_does_not_stand_for_another(opened: Opened) -> None:
    findings = Findings(opened.said((0, 1, 3), (0, 1, 3)), (), (opened.denial(2, 0),), {}, 0.0)
    settled = opened.chain.settle(1, EVERYBODY, findings)
    assert settled.in_play == {0, 1, 3}
    assert settled.ruled == ((2, 0),)


def test_a_hospital_at_fault_is_out_although_its_share_opened(opened: Opened) -> None:
    """It delivered twice, and signed for both: one share opened, the other is evidence."""
    piece = opened.wrong_share(3, 1, bytes(31) + b"x")
    findings = Findings(opened.said(EVERYBODY, EVERYBODY), (piece,), (), {}, 0.0)
    settled = opened.chain.settle(1, EVERYBODY, findings)
    assert settled.in_play == {0, 1, 2}
    decision = opened.chain.decide(
        1, RESULT, [True, True, True, None], CANDIDATE, GOOD, opened.signed([0, 1, 2], [])
    )
    assert decision.reputation == [1.0, 1.0, 1.0, 0.5]


def test_nobody_signs_for_nodes_that_hold_their_keys(opened: Opened) -> None:
    assert opened.chain.settle(1, EVERYBODY, None) == Settlement(set(EVERYBODY))
    with pytest.raises(ledger.LedgerError, match="is held by another process"):
        opened.chain.decide(1, RESULT, [True] * N, CANDIDATE, GOOD)


def test_without_a_ledger_all_who_committed_count() -> None:
    nobody = Nobody(3)
    assert nobody.settle(1, (0, 2), None) == Settlement({0, 2})
    assert not any(nobody.posted_root)
    decision = nobody.decide(1, RESULT, [True] * 3, CANDIDATE, GOOD)
    assert decision == Decision("unchecked", True, None, [False] * 3)
