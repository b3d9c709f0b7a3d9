"""Arbitrary misbehaviour of hospitals, nodes, validators and the coordinator, on the contract.

One hospital of four, perhaps one node of two, one validator of three and perhaps the coordinator do
what they like, in any order. The others follow the protocol, and act as soon as they may. Nodes
attest one after the other, with others' moves in between. Whatever happens: whoever followed the
protocol is never found at fault and loses no reputation; where nodes and coordinator are honest,
every round comes to its end with all honest hospitals in it; and what the contract takes, the
verifier of the audit takes too.

The parties are played in `tests.ledger.contracts.played_parties`.
"""

from collections import Counter
from collections.abc import Callable
from itertools import product
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    rule,
)

from ledger.audit.chain_file import _replay
from ledger.audit.replay_verifier import ReplayVerifier
from ledger.audit.report import AuditReport
from ledger.chains import export
from ledger.client.administration import pair
from ledger.client.consortium import Consortium
from ledger.members.keys import Signature
from ledger.protocol.commitments import SignedCommitment, pack, posted_root
from ledger.protocol.typed_data import to_words
from tests.ledger.conftest import HOSPITALS, digest, small_chain
from tests.ledger.contracts.played_parties import (
    BAD_HOSPITAL,
    BAD_NODE,
    BAD_VALIDATOR,
    PlayedParties,
    hospitals,
    nodes,
    some_hospitals,
    variants,
)


class Misbehaviour(PlayedParties):
    """Those who do not, at any moment."""

    def acts(self) -> dict[str, dict[str, Any]]:
        """What somebody may do now, by name, with what is free in it."""
        place = {"hospital": hospitals, "node": nodes, "variant": variants, "stolen": st.booleans()}
        acts: dict[str, dict[str, Any]] = {}
        if self.phase in ("open", "closed"):
            at = st.sets(nodes, min_size=1)
            acts["bad_hospital_delivers"] = {
                "variant": variants,
                "at": at,
                "opens": st.integers(0, 3),
            }
            how = st.sampled_from(["give", "send", "claim"])
            acts["bad_hospital_commits"] = {"variant": variants, "stale": st.booleans(), "how": how}
            if self.node_is_bad:
                acts["bad_node_states"] = {"opened": some_hospitals, "promised": some_hospitals}
        if self.phase == "closed":
            acts["somebody_accuses"] = acts["somebody_denies"] = place
        if self.phase == "aggregated":
            values = {
                "accuracy": st.sampled_from([0.0, 0.79, 1.0]),
                "loss": st.sampled_from([0.0, 9.0]),
            }
            acts["bad_validator_attests"] = values
        if self.coordinator_is_bad:
            forged, flag = st.sampled_from([None, 0, 1, 2, 3]), st.booleans()
            if self.phase == "open":
                free = {"who": some_hospitals, "forged": forged, "last": flag, "tree": flag}
                acts["bad_coordinator_closes"] = free
            if self.phase == "closed":
                acts["bad_coordinator_records"] = {"who": some_hospitals, "good": flag}
            steps = ["finalize", "open", "attest nobody", "wait", "abandon"]
            acts["bad_coordinator_hurries"] = {"what": st.sampled_from(steps)}
        return acts

    @rule(data=st.data(), on=st.integers(0, 2))
    def anything(self, data: st.DataObject, on: int) -> None:
        """One of these acts; or the round goes on, which alone is possible between rounds."""
        acts = self.acts()
        if on == 0 or not acts:
            self.the_round_goes_on()
            return
        # A hospital that delivers and commits to different things is what disputes are about, and
        # how a coordinator closes is what claims are about.
        often = [a for a in acts if "hospital" in a or "closes" in a]
        name = data.draw(st.sampled_from([*sorted(acts), *often]))
        getattr(self, name)(**{key: data.draw(value) for key, value in acts[name].items()})

    def bad_hospital_delivers(self, variant: int, at: set[int], opens: int) -> None:
        """Any root to any node, with a share that opens it or not, several times."""
        self.seen["bad hospital delivers"] += 1
        for node in at:
            self.deliver(BAD_HOSPITAL, node, variant, opens > 0)

    def bad_hospital_commits(self, variant: int, stale: bool, how: str) -> None:
        """To any root, perhaps for the round before: through the coordinator, by itself, or late by
        a claim; or in all three ways to different ones."""
        number = max(self.number - (stale and how != "give"), 0)
        mine = self.commitment(BAD_HOSPITAL, variant, number)
        self.seen["bad hospital commits"] += 1
        if how == "give":
            self.given[BAD_HOSPITAL] = mine
        elif how == "claim":
            self.attempt(("claim_commitment", (self.number, mine.words())))
        else:
            self.attempt(("commit_batch", (self.number, [mine.words()], False)))

    def somebody_accuses(self, hospital: int, node: int, variant: int, stolen: bool) -> None:
        """With what the bad hospital signs in its own name or another's, or with what was really
        delivered."""
        share, root = digest("made up"), self.root(hospital, variant)
        message = self.messages.delivery(self.number, node, share, root)
        signature = self.client.members.hospitals[BAD_HOSPITAL].sign(message)
        if stolen and (hospital, node) in self.deliveries:
            share, root, signature = self.deliveries[hospital, node]
        self.seen["somebody accuses"] += 1
        self.show(hospital)
        args = (self.number, hospital, node, share, root, pair(signature))
        self.attempt(("dispute_share", args))

    def somebody_denies(self, hospital: int, node: int, variant: int, stolen: bool) -> None:
        """With a receipt that the bad node made up, or with one that was really given."""
        share, root = digest("made up"), self.root(hospital, variant)
        message = self.messages.receipt(self.number, hospital, share, root)
        signature = self.client.members.nodes[BAD_NODE].sign(message)
        if not self.node_is_bad or (stolen and (hospital, node) in self.receipts):
            if (hospital, node) not in self.receipts:
                return
            share, root, signature = self.receipts[hospital, node]
        self.seen["somebody denies"] += 1
        self.show(hospital)
        self.attempt(("dispute_denial", (self.number, hospital, node, share, pair(signature))))

    def bad_node_states(self, opened: set[int], promised: set[int]) -> None:
        """Receipts for anything, and a statement that has nothing to do with them."""
        self.seen["bad node states"] += 1
        for hospital in promised:
            self.receipt(BAD_NODE, hospital, digest("any"), self.root(hospital))
        self.attempt(self.state(BAD_NODE, opened))

    def bad_validator_attests(self, accuracy: float, loss: float) -> None:
        self.seen["bad validator attests"] += 1
        self.attempt(self.attestation(BAD_VALIDATOR, (accuracy, loss, accuracy)))

    def bad_coordinator_closes(
        self, who: set[int], forged: int | None, last: bool, tree: bool
    ) -> None:
        """With whom it likes, and perhaps with what a hospital did not sign."""
        self.seen["bad coordinator closes"] += 1
        self.wait()
        chosen = [self.given[h] for h in sorted(who & self.given.keys())]
        if forged is not None:
            fake = SignedCommitment(forged, self.root(forged, 9), Signature(bytes(31) + b"1", 1))
            chosen = sorted([*chosen, fake], key=lambda c: c.hospital)
            chosen = [
                c
                for i, c in enumerate(chosen)
                if c.hospital not in (each.hospital for each in chosen[:i])
            ]
        if chosen and self.merkle and (tree or forged is not None):
            self.post(chosen)
        else:
            words = [c.words() for c in chosen]
            self.attempt(("commit_batch", (self.number, words, last)))

    def post(self, chosen: list[SignedCommitment]) -> None:
        members = to_words([c.hospital for c in chosen])
        root = posted_root(chosen, HOSPITALS)
        if self.attempt(("post_commitments", (self.number, root, members, pack(chosen)))):
            self.posted = chosen

    def bad_coordinator_records(self, who: set[int], good: bool) -> None:
        """A verdict of its own choice: no honest node signs another than what it combined."""
        self.seen["bad coordinator records"] += 1
        self.record(self.in_play() if good else sorted(who))

    def bad_coordinator_hurries(self, what: str) -> None:
        self.seen["bad coordinator hurries"] += 1
        steps: dict[str, Callable[[], object]] = {
            "abandon": lambda: self.attempt(("abandon_round", (self.number,))),
            "finalize": lambda: self.attempt(("finalize", (self.number,))),
            "open": self.open_next,
            "attest nobody": lambda: self.attempt(("attest_shares", (self.number, []))),
            "wait": self.wait,
        }
        steps[what]()


def witness_of(client: Consortium, file: Path) -> ReplayVerifier:
    """The audit's verifier of the chain so far."""
    client.export(file)
    report = AuditReport(file)
    verifier = _replay(export.read(file), report)
    assert report.faults + verifier.faults == []
    return verifier


def test_whoever_follows_the_protocol_is_never_at_fault(tmp_path: Path) -> None:
    machine = Misbehaviour
    machine.clients = {mode: small_chain(seed=12, mode=mode) for mode in ("each", "merkle")}
    machine.verifiers = {
        mode: witness_of(client, tmp_path / f"{mode}.jsonl")
        for mode, client in machine.clients.items()
    }
    machine.seen = Counter()
    machine.TestCase.settings = settings(
        max_examples=6,
        stateful_step_count=28,
        deadline=None,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    for mode, node, coordinator in product(machine.clients, (False, True), (False, True)):
        machine.mode, machine.node_is_bad, machine.coordinator_is_bad = mode, node, coordinator
        machine.TestCase("runTest").runTest()
    print("\nMisbehaviour carried out:", dict(sorted(machine.seen.items())))
    for what in (
        "hospital at fault",
        "node at fault",
        "coordinator at fault",
        "claimed",
        "refused",
        "honest coordinator's rounds finalized",
        *(name for name in vars(machine) if name.startswith(("bad_", "somebody_"))),
    ):
        assert machine.seen[what.replace("_", " ")] > 0, (what, machine.seen)
