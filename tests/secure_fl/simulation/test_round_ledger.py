"""Whose shares count after what nodes said and the contract ruled, on a real chain."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any, NamedTuple

import pytest
import torch

import ledger
from ledger.members.keys import Signer, simulation_key
from ledger.protocol.disputes import DeniedShare, SignedOpened, WrongShare
from secure_fl.backends.statements import Findings, Signed
from secure_fl.data import Split
from secure_fl.files import sha256
from secure_fl.hospital.hospital import Hospital
from secure_fl.server.validation import Validator, Verdict
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.simulation.consortium import open_ledger
from secure_fl.simulation.parties import make_hospitals, make_validators
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
    roots: dict[int, bytes]
    validators: tuple[Validator, ...]

    def decide(self, accepted: list[bool | None], signed: Signed) -> Decision:
        judged = (GOOD, self.validators)
        return self.chain.decide(1, RESULT, accepted, CANDIDATE, *judged, signed)

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
        signature = simulation_key(SEED, "hospital", hospital).sign(message)
        return WrongShare(hospital, node, SHARE, root, signature)

    def denial(self, hospital: int, node: int) -> DeniedShare:
        message = self.chain.contract.messages.receipt(1, hospital, SHARE, self.roots[hospital])
        return DeniedShare(hospital, node, SHARE, NODES[node].sign(message))

    def signed(self, accepted: list[int], rejected: list[int]) -> Signed:
        result, candidate = bytes.fromhex(RESULT), bytes.fromhex(CANDIDATE)
        message = self.chain.contract.messages.result(1, result, candidate, accepted, rejected)
        return Signed(tuple(node.sign(message) for node in NODES), 2.0)


class Seated(NamedTuple):
    """A chain, and its members at their places."""

    chain: Chain
    hospitals: tuple[Hospital, ...]
    validators: tuple[Validator, ...]


def seated(nodes_here: bool = False, **settings: Any) -> Seated:
    consortium = open_ledger(LedgerConfig(quorum=2, **settings), N, 3, 2, SEED)
    chain = Chain(consortium.carrier(), consortium.nodes if nodes_here else ())
    members, rows = consortium.members, [Split(torch.ones(1, 1), torch.ones(1, dtype=torch.int64))]
    return Seated(
        chain,
        make_hospitals(N * rows, contract=chain.contract, signers=members.hospitals),
        make_validators(3 * rows, chain.contract, members.validators),
    )


def committed(there: Seated, number: int = 1) -> dict[int, bytes]:
    """Open a round, in which every hospital commits to a row of its own."""
    there.chain.open_round(number, MODEL)
    row = torch.ones(2, dtype=torch.float64)
    roots = {h: hospital.commit(number, h * row) for h, hospital in enumerate(there.hospitals)}
    assert there.chain.commit(number, roots, there.hospitals) == roots
    return roots


@pytest.fixture(params=["each", "merkle"])
def opened(request: pytest.FixtureRequest) -> Opened:
    there = seated(mode=request.param)
    roots = committed(there)
    assert any(there.chain.posted_root) == (request.param == "merkle")
    return Opened(there.chain, roots, there.validators)


def test_shares_count_that_opened_everywhere(opened: Opened) -> None:
    before = opened.chain.cost_ms
    findings = Findings(opened.said((0, 1, 2), (0, 2, 3)), (), (), {}, 1000.0)
    settled = opened.chain.settle(1, EVERYBODY, findings)
    assert settled == Settlement({0, 2})
    assert opened.chain.cost_ms > before + 1000
    decision = opened.decide([True, None, False, None], opened.signed([0], [2]))
    assert decision.reputation == [1.0, 1.0, 0.5, 1.0]
    assert decision.status == "accepted"


def test_a_ruling_against_a_node_counts_the_share(opened: Opened) -> None:
    findings = Findings(
        opened.said((0, 3), (0, 1, 3)),
        (opened.wrong_share(1, 0, opened.roots[1]),),
        (opened.denial(1, 0), opened.denial(2, 0), opened.denial(2, 1)),
        {},
        0.0,
    )
    settled = opened.chain.settle(1, EVERYBODY, findings)
    assert settled.in_play == {0, 1, 2, 3}
    assert settled.ruled == ((1, 0), (2, 0), (2, 1))
    # What a node shows against a hospital that delivered as it committed proves nothing.
    assert [ruling.at_fault for ruling in settled.rulings] == ["", "node", "node", "node"]
    decision = opened.decide([True] * N, opened.signed(list(EVERYBODY), []))
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
    decision = opened.decide([True, True, True, None], opened.signed([0, 1, 2], []))
    assert decision.reputation == [1.0, 1.0, 1.0, 0.5]


def test_nobody_signs_for_nodes_that_hold_their_keys(opened: Opened) -> None:
    assert opened.chain.settle(1, EVERYBODY, None) == Settlement(set(EVERYBODY))
    with pytest.raises(ledger.Reverted, match="every node must sign"):
        opened.chain.decide(1, RESULT, [True] * N, CANDIDATE, GOOD, opened.validators)


def test_nodes_that_are_played_here_say_that_all_shares_opened() -> None:
    there = seated(nodes_here=True)
    roots = committed(there)
    assert there.chain.settle(1, roots, None) == Settlement(set(EVERYBODY))
    accepted = [True, False, True, True]
    decision = there.chain.decide(1, RESULT, accepted, CANDIDATE, GOOD, there.validators)
    assert decision == Decision("accepted", True, [1.0, 0.5, 1.0, 1.0], [False] * N)


def reachable(start: object) -> Iterator[object]:
    """Whatever an object holds, directly or through others; classes and modules apart."""
    seen, waiting = set(), [start]
    while waiting:
        item = waiting.pop()
        if id(item) in seen or isinstance(item, type | ModuleType):
            continue
        seen.add(id(item))
        yield item
        if isinstance(item, FunctionType):
            waiting += [cell.cell_contents for cell in item.__closure__ or ()]
        else:
            waiting += gc.get_referents(item)


@pytest.mark.parametrize("nodes_here", [False, True])
def test_who_carries_has_no_key_but_the_coordinators(tmp_path: Path, nodes_here: bool) -> None:
    there = seated(nodes_here)
    roots = committed(there)
    if nodes_here:
        there.chain.decide(1, RESULT, [True] * N, CANDIDATE, GOOD, there.validators)
        there.chain.export(tmp_path / "chain.jsonl", there.validators)
    client = there.chain.client
    seats = {"administrator": 3, "hospital": N, "node": 2, "validator": 3}
    theirs = {
        simulation_key(SEED, role, seat).secret
        for role, count in seats.items()
        for seat in range(count)
    }
    own = simulation_key(SEED, "coordinator", 0)
    found = [item for item in reachable(client) if isinstance(item, bytes | Signer)]
    assert own in found
    assert own.secret in found
    assert not theirs.intersection(item for item in found if isinstance(item, bytes))
    assert {item.address for item in found if isinstance(item, Signer)} == {own.address}
    # The search does find a key where there is one.
    held = list(reachable(there.hospitals[0]))
    assert simulation_key(SEED, "hospital", 0).secret in [i for i in held if type(i) is bytes]
    assert roots.keys() == set(EVERYBODY)


def test_without_a_ledger_all_who_committed_count() -> None:
    nobody = Nobody(3)
    assert nobody.commit(1, {0: bytes(32)}, ()) is None
    assert nobody.settle(1, (0, 2), None) == Settlement({0, 2})
    assert not any(nobody.posted_root)
    decision = nobody.decide(1, RESULT, [True] * 3, CANDIDATE, GOOD, ())
    assert decision == Decision("unchecked", True, None, [False] * 3)
