"""The parties of a round on the contract, played from their own side, in plain Python.

An honest node states exactly those shares for which it gave receipts, as
`secure_fl.nodes.attestation` does; an honest hospital signs one root a round. All they know of the
chain they take from its events.
"""

from collections import Counter
from collections.abc import Iterable
from copy import deepcopy
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
)

import ledger
from ledger.audit.replay_verifier import ReplayVerifier
from ledger.client.administration import pair
from ledger.client.connection import Call
from ledger.client.consortium import Consortium
from ledger.members.keys import Signature, recover
from ledger.members.members import COORDINATOR, NODE
from ledger.protocol.commitments import SignedCommitment, posted_proof, posted_root
from ledger.protocol.contract import decode_call, encode_call
from ledger.protocol.typed_data import from_words, to_words
from tests.ledger.conftest import HOSPITALS, MODEL, NODES, VALIDATORS, digest

BAD_HOSPITAL, BAD_NODE, BAD_VALIDATOR = 3, 1, 2
HONEST = frozenset(range(HOSPITALS)) - {BAD_HOSPITAL}
METRICS = (0.8, 0.5, 0.7)
hospitals = st.integers(0, HOSPITALS - 1)
nodes = st.integers(0, NODES - 1)
some_hospitals = st.sets(hospitals)
variants = st.integers(0, 2)
Delivery = tuple[bytes, bytes, Signature]


class PlayedParties(RuleBasedStateMachine):
    """Those who follow the protocol. `client` is the contract; the rest is what they know."""

    clients: ClassVar[dict[str, Consortium]]
    verifiers: ClassVar[dict[str, ReplayVerifier]]
    seen: ClassVar[Counter[str]]
    mode: ClassVar[str]
    node_is_bad: ClassVar[bool]
    coordinator_is_bad: ClassVar[bool]

    @initialize()
    def begin(self) -> None:
        self.client = self.clients[self.mode]
        self.before = self.client.connection.chain.snapshot()  # type: ignore[attr-defined]
        self.verifier = deepcopy(self.verifiers[self.mode])
        self.merkle = self.mode == "merkle"
        self.messages = self.client.connection.messages
        self.number, self.phase, self.model = 0, "idle", MODEL
        self.forget()

    def forget(self) -> None:
        """A new round: nothing is signed for it yet."""
        self.deliveries: dict[tuple[int, int], Delivery] = {}
        self.receipts: dict[tuple[int, int], tuple[bytes, bytes, Signature]] = {}
        self.given: dict[int, SignedCommitment] = {}
        self.posted: list[SignedCommitment] = []
        self.known: dict[int, bytes] = {}
        self.committed: set[int] = set()
        self.stated: dict[int, set[int]] = {}
        self.faulty: set[int] = set()
        self.attested: set[int] = set()
        self.candidate = b""

    def teardown(self) -> None:
        """Events told of every fault as it was found; the contract's own counts must agree."""
        if not hasattr(self, "before"):
            return
        blamed = [(NODE, node) for node in self.honest_nodes()]
        if not self.coordinator_is_bad:
            blamed.append((COORDINATOR, 0))
        read = self.client.connection.read
        assert [read("fault_count", role, seat) for role, seat in blamed] == [0] * len(blamed)
        self.client.connection.chain.restore(self.before)  # type: ignore[attr-defined]

    def honest_nodes(self) -> list[int]:
        return [node for node in range(NODES) if not (self.node_is_bad and node == BAD_NODE)]

    # ---- the chain ----

    def attempt(self, *calls: Call) -> bool:
        """Anybody sends; what the contract refuses is refused."""
        try:
            events = self.client.connection.send(calls)
        except ledger.Reverted:
            self.seen["refused"] += 1
            return False
        height = self.client.connection.chain.height
        for (name, args), group in zip(calls, events, strict=True):
            self.verifier.called(height, *decode_call(encode_call(name, *args)), group)
            for event in group:
                self.follow(event.name, event.args)
        assert self.verifier.faults == []
        return True

    def follow(self, name: str, args: dict[str, Any]) -> None:
        if name == "RoundOpened":
            self.number, self.phase = args["round"], "open"
            self.forget()
        elif name == "Committed":
            self.known[args["hospital"]] = args["root"]
            self.committed.add(args["hospital"])
        elif name == "CommitmentsClosed":
            self.committed, self.phase = set(from_words(args["committed"])), "closed"
        elif name == "SharesAttested":
            self.stated[args["node"]] = set(from_words(args["opened"]))
        elif name == "ShareDisputed":
            if args["hospital_at_fault"]:
                self.seen["hospital at fault"] += 1
                assert args["hospital"] == BAD_HOSPITAL
                self.faulty.add(args["hospital"])
            else:
                self.seen["node at fault"] += 1
                assert args["node"] not in self.honest_nodes()
                self.stated[args["node"]].add(args["hospital"])
        elif name == "CommitmentForged":
            self.seen["coordinator at fault"] += 1
            assert self.coordinator_is_bad
        elif name == "AggregateRecorded":
            self.phase, self.candidate = "aggregated", args["candidate"]
        elif name == "Attested":
            self.attested.add(args["validator"])
        elif name == "RoundAbandoned":
            self.phase = "idle"
        elif name == "RoundFinalized":
            self.phase, self.model = "idle", args["model"]
            self.seen["finalized"] += 1
        elif name == "ReputationChanged":
            assert args["hospital"] == BAD_HOSPITAL or args["after"] >= args["before"]

    def wait(self) -> None:
        self.client.connection.reach(self.client.connection.chain.height + 2)

    # ---- what honest parties do ----

    def root(self, hospital: int, variant: int = 0) -> bytes:
        return digest("root", self.number, hospital, variant)

    def commitment(self, hospital: int, variant: int = 0, number: int | None = None) -> Any:
        number = self.number if number is None else number
        return self.client.sign_commitment(
            hospital, number, self.model, self.root(hospital, variant)
        )

    def deliver(self, hospital: int, node: int, variant: int = 0, opens: bool = True) -> None:
        """A hospital sends a node its share; an honest node gives a receipt for what opens the root
        signed with it."""
        root, share = self.root(hospital, variant), digest("share", hospital, node, variant)
        message = self.messages.delivery(self.number, node, share, root)
        signature = self.client.members.hospitals[hospital].sign(message)
        if opens and node not in self.stated:
            self.deliveries[hospital, node] = share, root, signature
            if node in self.honest_nodes():
                self.receipt(node, hospital, share, root)

    def receipt(self, node: int, hospital: int, share: bytes, root: bytes) -> None:
        message = self.messages.receipt(self.number, hospital, share, root)
        signature = self.client.members.nodes[node].sign(message)
        self.receipts[hospital, node] = share, root, signature

    def state(self, node: int, opened: Iterable[int]) -> Call:
        root = posted_root(self.posted, HOSPITALS) if self.posted else bytes(32)
        opened = sorted(opened)
        message = self.messages.opened(self.number, root, opened)
        signature = self.client.members.nodes[node].sign(message)
        return ("attest_shares", (self.number, [(node, to_words(opened), *pair(signature))]))

    def show(self, hospital: int) -> None:
        """Reveal a commitment under the posted root, so that the contract holds it."""
        if self.phase == "closed" and hospital not in self.known and self.posted:
            for commitment in self.posted:
                if commitment.hospital == hospital:
                    proof = posted_proof(self.posted, HOSPITALS, hospital)
                    self.attempt(("reveal_commitment", (self.number, commitment.words(), proof)))

    @invariant()
    def honest_parties_act(self) -> None:
        if not hasattr(self, "client"):
            return
        if self.phase == "open":
            for hospital in sorted(HONEST - self.given.keys()):
                self.given[hospital] = self.commitment(hospital)
                for node in range(NODES):
                    self.deliver(hospital, node)
        if self.phase == "closed" and not self.stated:
            self.reveal_what_nobody_signed()
            self.claim_what_was_left_out()
        if self.phase == "closed":
            self.bring_evidence()

    def is_signed(self, commitment: SignedCommitment) -> bool:
        message = self.messages.commitment(self.number, self.model, commitment.root)
        signer = self.client.members.hospitals[commitment.hospital].address
        return recover(message, commitment.signature) == signer

    def reveal_what_nobody_signed(self) -> None:
        """Who posted it is at fault, and the round is void."""
        for commitment in self.posted:
            if not self.is_signed(commitment):
                self.show(commitment.hospital)

    def claim_what_was_left_out(self) -> None:
        right = {(c.hospital, c.root) for c in self.posted}
        for hospital in sorted(HONEST & self.given.keys() - self.known.keys()):
            mine = self.given[hospital]
            missing = (hospital, mine.root) not in right and self.phase == "closed"
            claim = ("claim_commitment", (self.number, mine.words()))
            self.seen["claimed"] += int(missing and self.attempt(claim))

    def bring_evidence(self) -> None:
        """Nodes against a hospital that signed two roots, hospitals against a node that denies."""
        roots = {c.hospital: c.root for c in self.posted} | self.known
        for (hospital, node), (share, root, signature) in sorted(self.deliveries.items()):
            mine = node in self.honest_nodes() and hospital in self.committed - self.faulty
            if mine and roots.get(hospital, root) != root:
                self.show(hospital)
                args = (self.number, hospital, node, share, root, pair(signature))
                if self.phase == "closed":
                    self.attempt(("dispute_share", args))
        for (hospital, node), (share, _, signature) in sorted(self.receipts.items()):
            denied = node in self.stated and hospital not in self.stated[node]
            if self.phase == "closed" and denied and hospital in HONEST & self.committed:
                self.show(hospital)
                args = (self.number, hospital, node, share, pair(signature))
                if self.phase == "closed":
                    self.attempt(("dispute_denial", args))

    # ---- a round to its end ----

    def open_next(self) -> None:
        self.attempt(("open_round", (self.number + 1, self.model)))

    def in_play(self) -> list[int]:
        """Who opened at every node, without those at fault: what honest nodes combine."""
        opened = set.intersection(*(self.stated.get(node, set()) for node in range(NODES)))
        return sorted((opened & self.committed) - self.faulty)

    def record(self, accepted: list[int]) -> None:
        candidate = digest("candidate", self.number)
        message = self.messages.result(self.number, digest("result"), candidate, accepted, [])
        fair = accepted == self.in_play()
        signatures = [
            self.client.members.nodes[node].sign(message if fair else digest("no"))
            if node in self.honest_nodes()
            else self.client.members.nodes[node].sign(message)
            for node in range(NODES)
        ]
        words = (to_words(accepted), to_words([]), [pair(s) for s in signatures])
        args = (self.number, digest("result"), candidate, *words)
        self.attempt(("record_aggregate", args))

    def attestation(self, validator: int, metrics: tuple[float, float, float]) -> Call:
        signed = self.client.sign_attestation(validator, self.number, self.candidate, *metrics)
        entry = (validator, signed.accuracy, signed.loss, signed.f1, *pair(signed.signature))
        return ("attest_batch", (self.number, [entry]))

    def the_round_goes_on(self) -> None:
        """The coordinator carries it one step on: opens, closes, records, has it attested and ends
        it. From an honest one the contract takes every step."""
        if self.phase == "idle":
            self.open_next()
            self.expect("open")
        elif self.phase == "open":
            self.close_honestly()
            self.expect("closed")
        elif self.phase == "closed":
            silent = [node for node in self.honest_nodes() if node not in self.stated]
            if silent:
                self.attest_honestly(silent[0])
            else:
                self.end_closed()
        elif self.phase == "aggregated":
            for validator in range(VALIDATORS):
                if validator not in (BAD_VALIDATOR, *self.attested):
                    self.attempt(self.attestation(validator, METRICS))
            self.wait()
            self.attempt(("finalize", (self.number,)))
            # Here even a bad coordinator stops nothing: anybody may attest and finalize.
            assert self.phase == "idle"
            self.seen["honest coordinator's rounds finalized"] += not self.coordinator_is_bad

    def expect(self, phase: str) -> None:
        assert self.coordinator_is_bad or self.phase == phase

    def close_honestly(self) -> None:
        """With every commitment that is signed by its hospital for this round."""
        self.wait()
        good = [c for _, c in sorted(self.given.items()) if self.is_signed(c)]
        if self.merkle:
            self.post(good)
        else:
            words = [commitment.words() for commitment in good]
            self.attempt(("commit_batch", (self.number, words, True)))

    def attest_honestly(self, node: int) -> None:
        """What it gave receipts for, once hospitals that were left out had their time."""
        self.wait()
        opened = [hospital for hospital, place in self.receipts if place == node]
        assert self.attempt(self.state(node, opened))

    def end_closed(self) -> None:
        """Record what all nodes signed; a node that signs nothing has the round abandoned."""
        if self.node_is_bad and BAD_NODE not in self.stated:
            self.attempt(("abandon_round", (self.number,)))
            return
        self.wait()
        # All that honest hospitals sent has opened, or counts by a ruling; unless the bad node
        # denies without ever having given a receipt.
        if not self.node_is_bad and not self.coordinator_is_bad:
            assert set(self.in_play()) >= HONEST
        self.record(self.in_play())
        self.expect("aggregated")
