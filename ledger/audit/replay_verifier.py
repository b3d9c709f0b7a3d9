"""An independent verifier of the contract: plain Python that follows every call and recomputes.

The verifier takes each call's arguments from the blocks, never the contract's word for anything:
it keeps membership, commitments and reputations by itself, checks every signature with its own
EIP-712 code, and says where the contract's events differ from what it expects.
"""

from collections.abc import Callable
from typing import Any

from ledger.audit.membership import Membership
from ledger.audit.round_record import RoundRecord
from ledger.members.keys import Signature, recover
from ledger.members.members import HOSPITAL, NODE, VALIDATOR
from ledger.protocol import reputation
from ledger.protocol.commitments import posted_root, unpack
from ledger.protocol.contract import Event
from ledger.protocol.merkle import depth
from ledger.protocol.messages import Messages
from ledger.protocol.reputation import Metrics
from ledger.protocol.typed_data import from_words


class ReplayVerifier(Membership):
    """Follows a chain from the creation of the contract.

    Attributes:
        rounds: records of all rounds so far.
    """

    def __init__(self, messages: Messages) -> None:
        super().__init__(messages)
        self.rounds: list[RoundRecord] = []
        # How many of each role count in the round, and the block that the next step counts from.
        self._counting: dict[int, int] = {}
        self._since = 0
        self._model = bytes(32)
        self._baseline: Metrics | None = None

    def called(self, block: int, name: str, args: dict[str, Any], events: list[Event]) -> None:
        """Take in a call that succeeded, with the events that the contract emitted."""
        self._block, self._place = block, f"block {block}, {name}"
        follow: Callable[[dict[str, Any], list[Event]], None] = getattr(self, f"_{name}")
        follow(args, events)
        if name not in ("register", "replace_key", "set_parameters", "reinstate"):
            self.rounds[-1].blocks.append(block)

    def _propose_initial(self, args: dict[str, Any], events: list[Event]) -> None:
        self._check(not self.rounds, "an initial model after the first step of all")
        self._begin(RoundRecord(0, args["model"], candidate=args["model"]))

    def _open_round(self, args: dict[str, Any], events: list[Event]) -> None:
        if self._model == bytes(32):
            self._model = args["model"]
        self._check(args["model"] == self._model, "does not start from the last accepted model")
        self._begin(RoundRecord(args["round"], args["model"]))

    def _begin(self, record: RoundRecord) -> None:
        self.rounds.append(record)
        self._counting = {role: len(seats) for role, seats in self.seats.items()}
        self._since = self._block

    def _missing(self) -> set[int]:
        """Hospitals that may commit in this round and have not done so."""
        free = {i for i in range(self._counting[HOSPITAL]) if not self.standings[i].suspended}
        return free.difference(self.rounds[-1].commitments)

    def _check_passed(self, blocks: int, step: str) -> None:
        """Others must have had their time between the last step and this one."""
        self._check(self._block > self._since + blocks, f"{step} before others had their time")

    def _closed(self, wait: bool) -> None:
        """Commitments are closed; unless all are in, after hospitals had the time to send them."""
        if wait:
            self._check_passed(self._timing.open_blocks, "closed")
        self._since = self._block

    def _commit_batch(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        for hospital, root, r, vs in args["commitments"]:
            if hospital in record.commitments:  # it stands with what came first
                continue
            digest = self._messages.commitment(args["round"], record.model, root)
            self._check_signature(digest, Signature(r, vs), HOSPITAL, hospital)
            self._take_in(record, hospital, root)
        if args["last"]:
            self._closed(bool(self._missing()))

    def _take_in(self, record: RoundRecord, hospital: int, root: bytes) -> None:
        self._check(not self.standings[hospital].suspended, f"hospital {hospital} is suspended")
        self._check(hospital < self._counting[HOSPITAL], f"hospital {hospital} came in the round")
        record.commitments[hospital] = root

    def _post_commitments(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        self._closed(wait=True)
        try:
            posted = unpack(args["signed"])
            root = posted_root(posted, self._counting[HOSPITAL])
        except ValueError as error:
            self._check(False, f"what was posted is not a list of commitments ({error})")
            return
        record.posted_root = args["root"]
        hospitals = [commitment.hospital for commitment in posted]
        self._check(root == args["root"], "the root is not that of the commitments posted with it")
        self._check(
            hospitals == from_words(args["committed"]),
            "the commitments posted are not those of the hospitals named",
        )
        for commitment in posted:
            hospital = commitment.hospital
            if hospital in record.commitments:  # it committed by itself, and stands with that
                continue
            digest = self._messages.commitment(args["round"], record.model, commitment.root)
            self.signatures += 1
            if recover(digest, commitment.signature) != self.seats[HOSPITAL][hospital]:
                record.forged.append(hospital)
            self._take_in(record, hospital, commitment.root)

    def _reveal_commitment(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        hospital, root, *_ = args["commitment"]
        held = hospital not in record.forged
        shown = record.commitments.get(hospital) == root
        self._check(shown, f"the commitment revealed of hospital {hospital} is not the one posted")
        right = len(args["proof"]) == depth(self._counting[HOSPITAL])
        self._check(right, "the proof is not as long as the tree is deep")
        self._check(
            any(event.name == "CommitmentForged" for event in events) != held,
            f"the contract judged the signature of hospital {hospital} otherwise",
        )
        if not held:
            record.status = "void"
            self._close(record)

    def _claim_commitment(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        hospital, root, r, vs = args["commitment"]
        digest = self._messages.commitment(args["round"], record.model, root)
        self._check_signature(digest, Signature(r, vs), HOSPITAL, hospital)
        in_time = self._block <= self._since + self._timing.dispute_blocks
        self._check(in_time and not record.opened, f"hospital {hospital} claims too late")
        # What it signed itself counts, whatever the coordinator posted in its place.
        self._take_in(record, hospital, root)
        record.forged = [each for each in record.forged if each != hospital]
        record.claimed.append(hospital)

    def _attest_shares(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        if not record.opened and (record.posted_root or self._missing()):
            self._check_passed(self._timing.dispute_blocks, "shares attested")
        for node, words, r, vs in args["attestations"]:
            if node in record.opened:
                continue
            self._since = self._block
            opened = from_words(words)
            digest = self._messages.opened(args["round"], record.posted_root, opened)
            self._check_signature(digest, Signature(r, vs), NODE, node)
            record.opened[node] = opened

    def _dispute_share(self, args: dict[str, Any], events: list[Event]) -> None:
        record, hospital, node = self.rounds[-1], args["hospital"], args["node"]
        root = args["root"]
        delivery = self._messages.delivery(args["round"], node, args["digest"], root)
        self._check_signature(delivery, Signature(*args["delivery"]), HOSPITAL, hospital)
        differs = record.commitments[hospital] != root
        self._check(differs, f"hospital {hospital} delivered what it committed to")
        record.disputes.append((hospital, node, True))

    def _dispute_denial(self, args: dict[str, Any], events: list[Event]) -> None:
        record, hospital, node = self.rounds[-1], args["hospital"], args["node"]
        self._check(hospital not in record.opened[node], f"node {node} did not deny")
        root = record.commitments[hospital]
        receipt = self._messages.receipt(args["round"], hospital, args["digest"], root)
        self._check_signature(receipt, Signature(*args["receipt"]), NODE, node)
        record.opened[node].append(hospital)
        record.disputes.append((hospital, node, False))

    def _record_aggregate(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        accepted, rejected = from_words(args["accepted"]), from_words(args["rejected"])
        digest = self._messages.result(
            args["round"], args["result"], args["candidate"], accepted, rejected
        )
        for node, pair in enumerate(args["node_signatures"]):
            self._check_signature(digest, Signature(*pair), NODE, node)
        nodes = range(self._counting[NODE])
        signed = len(args["node_signatures"]) == len(nodes)
        self._check(signed, f"{len(args['node_signatures'])} of {len(nodes)} nodes signed")
        faulty = {hospital for hospital, _, at_fault in record.disputes if at_fault}
        self._check(not faulty & set(accepted), "accepts a hospital found at fault")
        self._check(not record.forged, f"uses commitments not signed by {record.forged}")
        opened = set(record.commitments).intersection(
            *(record.opened.get(node, ()) for node in nodes)
        )
        if opened != set(record.commitments):
            self._check_passed(self._timing.dispute_blocks, "recorded")
        unopened = {*accepted, *rejected} - opened - faulty
        self._check(not unopened, f"a verdict on shares that did not open: {sorted(unopened)}")
        silent = opened - faulty - {*accepted, *rejected}
        self._check(not silent, f"no verdict on shares that opened: {sorted(silent)}")
        record.result, record.candidate = args["result"], args["candidate"]
        record.accepted, record.rejected = accepted, sorted({*rejected, *faulty})

    def _attest_batch(self, args: dict[str, Any], events: list[Event]) -> None:
        record, quorum = self.rounds[-1], self._limits.quorum
        before = len(record.metrics)
        for validator, accuracy, loss, f1, r, vs in args["attestations"]:
            if validator in record.metrics:
                continue
            digest = self._messages.attestation(args["round"], record.candidate, accuracy, loss, f1)
            self._check_signature(digest, Signature(r, vs), VALIDATOR, validator)
            record.metrics[validator] = Metrics(accuracy, loss, f1)
        if before < quorum <= len(record.metrics):
            self._since = self._block

    def _finalize(self, args: dict[str, Any], events: list[Event]) -> None:
        record = self.rounds[-1]
        self._check(len(record.metrics) >= self._limits.quorum, "finalized below the quorum")
        if len(record.metrics) < self._counting[VALIDATOR]:
            self._check_passed(self._timing.quorum_blocks, "finalized")
        record.medians = reputation.medians(list(record.metrics.values()))
        abnormal = reputation.degraded(record.medians, self._baseline, self._limits)
        record.status = "abnormal" if abnormal else "accepted"
        if not abnormal:
            self._model, self._baseline = record.candidate, record.medians
        for hospital in range(len(self.standings)):
            before = self.standings[hospital]
            if hospital in record.accepted and abnormal:
                after = reputation.accepted_in_abnormal_round(before, self._rule)
                reason = "accepted into an abnormal round"
            elif hospital in record.accepted:
                after, reason = reputation.accepted(before, self._rule), "accepted"
            elif hospital in record.rejected:
                after, reason = reputation.rejected(before, self._rule), "rejected"
            else:
                continue
            if after != before:
                record.changes.append(self._move(hospital, after, reason))
        self._close(record)
        self._expect_changes(record.changes, events)
        expected = {
            "round": args["round"],
            "abnormal": abnormal,
            "model": self._model,
            "accuracy": record.medians.accuracy,
            "loss": record.medians.loss,
            "f1": record.medians.f1,
        }
        found = [event.args for event in events if event.name == "RoundFinalized"]
        self._check(found == [expected], f"the contract decided {found}, expected {expected}")

    def _abandon_round(self, args: dict[str, Any], events: list[Event]) -> None:
        decided = len(self.rounds[-1].metrics) >= self._limits.quorum
        self._check(not decided, "abandoned though the outcome stands")
        self.rounds[-1].status = "abandoned"
        self._close(self.rounds[-1])

    def check_seal(self, number: int, head: bytes, signatures: dict[int, Signature]) -> None:
        """Check the validators' signatures on the head; a quorum must be there."""
        self._place = "seal"
        digest = self._messages.head(number, head)
        for validator, signature in signatures.items():
            self._check_signature(digest, signature, VALIDATOR, validator)
        short = f"{len(signatures)} validators signed the head, {self._limits.quorum} needed"
        self._check(len(signatures) >= self._limits.quorum, short)

    def _close(self, record: RoundRecord) -> None:
        record.next_model = self._model
        record.reputations = [standing.reputation for standing in self.standings]
        record.suspended = [standing.suspended for standing in self.standings]
