"""An independent verifier of the contract: plain Python that follows every call and recomputes.

The verifier takes each call's arguments from the blocks, never the contract's word for anything:
it keeps membership, commitments and reputations by itself, checks every signature with its own
EIP-712 code, and says where the contract's events differ from what it expects.
"""

from collections.abc import Callable, Sequence
from dataclasses import asdict, astuple, dataclass, field
from typing import Any

from ledger.members.keys import Signature, recover
from ledger.members.members import ADMINISTRATOR, COORDINATOR, HOSPITAL, NODE, ROLE_NAMES, VALIDATOR
from ledger.protocol import reputation
from ledger.protocol.commitments import posted_root, unpack
from ledger.protocol.contract import Event
from ledger.protocol.merkle import depth
from ledger.protocol.messages import Messages
from ledger.protocol.reputation import Limits, Metrics, Rule, Standing, Timing
from ledger.protocol.typed_data import from_words


@dataclass(frozen=True)
class Fault:
    """Something that does not hold.

    Attributes:
        place: where, in words: the line of the file, or block and call.
        fault: what is wrong there.
    """

    place: str
    fault: str


@dataclass(frozen=True)
class Change:
    """A hospital's reputation moved, in units of 10**-18."""

    hospital: int
    before: int
    after: int
    reason: str
    suspended: bool


@dataclass
class RoundRecord:
    """Everything the chain holds of one round.

    Attributes:
        round: its number; 0 is the attestation of the initial model.
        blocks: numbers of the blocks with its calls.
        model: hash of the model that it started from.
        commitments: root by hospital.
        posted_root: root of the tree over them; empty where the contract verified each.
        forged: hospitals under that root whose commitment is not signed by them.
        claimed: hospitals that the coordinator left out and that were put in.
        opened: by node, the hospitals whose shares opened there.
        result, candidate: hashes of the aggregate and of the model made from it.
        accepted, rejected: hospitals by the nodes' verdict (rejected: faulty ones included).
        metrics: by validator.
        disputes: (hospital, node, whether the hospital is at fault).
        status: "open", "accepted", "abnormal", "abandoned" or "void" (the coordinator's fault).
        medians: of the metrics, once finalized.
        next_model: hash of the model that stands after the round.
        changes: reputations that moved.
        reputations: of all hospitals after the round, in units of 10**-18.
        suspended: of all hospitals after the round.
    """

    round: int
    model: bytes
    blocks: list[int] = field(default_factory=list)
    commitments: dict[int, bytes] = field(default_factory=dict)
    posted_root: bytes = b""
    forged: list[int] = field(default_factory=list)
    claimed: list[int] = field(default_factory=list)
    opened: dict[int, list[int]] = field(default_factory=dict)
    result: bytes = b""
    candidate: bytes = b""
    accepted: list[int] = field(default_factory=list)
    rejected: list[int] = field(default_factory=list)
    metrics: dict[int, Metrics] = field(default_factory=dict)
    disputes: list[tuple[int, int, bool]] = field(default_factory=list)
    status: str = "open"
    medians: Metrics | None = None
    next_model: bytes = b""
    changes: list[Change] = field(default_factory=list)
    reputations: list[int] = field(default_factory=list)
    suspended: list[bool] = field(default_factory=list)


_REASONS = {"accepted": 1, "rejected": 2, "accepted into an abnormal round": 3, "reinstated": 4}


def _in_words(rule: Rule, limits: Limits, timing: Timing) -> str:
    """Parameters as decimal numbers with their names."""
    counts = ("probation_rounds", "quorum", *asdict(timing))
    return ", ".join(
        f"{name.replace('_', ' ')} {value if name in counts else value / reputation.SCALE:g}"
        for name, value in {**asdict(rule), **asdict(limits), **asdict(timing)}.items()
    )


class ReplayVerifier:
    """Follows a chain from the creation of the contract.

    Attributes:
        seats: addresses by role, in seat order.
        certificates: certificate hash by (role, seat).
        standings: of the hospitals, in seat order.
        rounds: records of all rounds so far.
        faults: what did not hold.
        signatures: how many signatures were checked.
        administration: administrators' changes, as (block, words).
        started: whether the contract was created.
        threshold: administrators who must approve a change.
    """

    def __init__(self, messages: Messages) -> None:
        self.seats: dict[int, list[bytes]] = {role: [] for role in range(1, 6)}
        self.certificates: dict[tuple[int, int], bytes] = {}
        self.standings: list[Standing] = []
        self.rounds: list[RoundRecord] = []
        self.faults: list[Fault] = []
        self.signatures = 0
        self.administration: list[tuple[int, str]] = []
        self._messages = messages
        self.started = False
        self.threshold = 0
        self._nonce = 0
        self._rule: Rule
        self._limits: Limits
        self._timing: Timing
        # How many of each role count in the round, and the block that the next step counts from.
        self._counting: dict[int, int] = {}
        self._since = 0
        self._model = bytes(32)
        self._baseline: Metrics | None = None
        self._place = ""
        self._block = 0

    def created(self, args: dict[str, Any]) -> None:
        """Take in the constructor's arguments."""
        self.started = True
        self.seats[ADMINISTRATOR] = list(args["administrators"])
        self.seats[COORDINATOR] = [args["coordinator"]]
        self.threshold = args["threshold"]
        self._adopt(args)

    def called(self, block: int, name: str, args: dict[str, Any], events: list[Event]) -> None:
        """Take in a call that succeeded, with the events that the contract emitted."""
        self._block, self._place = block, f"block {block}, {name}"
        follow: Callable[[dict[str, Any], list[Event]], None] = getattr(self, f"_{name}")
        follow(args, events)
        if name not in ("register", "replace_key", "set_parameters", "reinstate"):
            self.rounds[-1].blocks.append(block)

    # ---- administration ----

    def _register(self, args: dict[str, Any], events: list[Event]) -> None:
        role, accounts, certificates = args["role"], args["accounts"], args["certificates"]
        digest = self._messages.register(role, accounts, certificates, self._nonce)
        self._check_approvals(digest, args["approvals"])
        for account, certificate in zip(accounts, certificates, strict=True):
            self.certificates[role, len(self.seats[role])] = certificate
            self.seats[role].append(account)
            if role == HOSPITAL:
                self.standings.append(Standing(self._rule.initial))
        self._note(f"registered {len(accounts)} {ROLE_NAMES[role]}(s)")

    def _replace_key(self, args: dict[str, Any], events: list[Event]) -> None:
        role, index = args["role"], args["index"]
        account, certificate = args["account"], args["certificate"]
        digest = self._messages.replace_key(role, index, account, certificate, self._nonce)
        self._check_approvals(digest, args["approvals"])
        self.seats[role][index] = account
        self.certificates[role, index] = certificate
        self._note(f"replaced the key of {ROLE_NAMES[role]} {index}")

    def _set_parameters(self, args: dict[str, Any], events: list[Event]) -> None:
        words = args["rule"], args["limits"], args["timing"]
        digest = self._messages.set_parameters(*words, self._nonce)
        self._check_approvals(digest, args["approvals"])
        self._adopt(args)
        self._note(f"set the parameters: {_in_words(self._rule, self._limits, self._timing)}")

    def _adopt(self, args: dict[str, Any]) -> None:
        self._rule, self._limits = Rule(*args["rule"]), Limits(*args["limits"])
        self._timing = Timing(*args["timing"])

    def _reinstate(self, args: dict[str, Any], events: list[Event]) -> None:
        hospital = args["hospital"]
        digest = self._messages.reinstate(hospital, self._nonce)
        self._check_approvals(digest, args["approvals"])
        after = reputation.reinstated(self._rule)
        change = self._move(hospital, after, "reinstated")
        self._expect_changes([change], events)
        self._note(f"reinstated hospital {hospital}")

    # ---- a round ----

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

    # ---- checks ----

    @property
    def parameters(self) -> dict[str, tuple[int, ...]]:
        """Words of the parameters in force, by name of the contract's variable; none before it."""
        if not self.started:
            return {}
        return {
            "rule": astuple(self._rule),
            "limits": astuple(self._limits),
            "timing": astuple(self._timing),
        }

    def check_words(self, words: Sequence[tuple[bytes, Standing]], place: str) -> None:
        """Compare the contract's record of every hospital with the verifier's own."""
        mine = list(zip(self.seats[HOSPITAL], self.standings, strict=True))
        for hospital, (held, expected) in enumerate(zip(words, mine, strict=True)):
            if held != expected:
                text = f"the contract holds {held} for hospital {hospital}, expected {expected}"
                self.faults.append(Fault(place, text))

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

    def _move(self, hospital: int, after: Standing, reason: str) -> Change:
        before = self.standings[hospital]
        self.standings[hospital] = after
        return Change(hospital, before.reputation, after.reputation, reason, after.suspended)

    def _expect_changes(self, changes: Sequence[Change], events: Sequence[Event]) -> None:
        emitted = [
            (args["hospital"], args["before"], args["after"], args["reason"])
            for args in (event.args for event in events if event.name == "ReputationChanged")
        ]
        mine = [(c.hospital, c.before, c.after, _REASONS[c.reason]) for c in changes]
        self._check(emitted == mine, f"reputations moved {emitted}, expected {mine}")

    def _check_approvals(self, digest: bytes, pairs: Sequence[tuple[bytes, int]]) -> None:
        signers = {recover(digest, Signature(*pair)) for pair in pairs}
        self.signatures += len(pairs)
        known = signers & set(self.seats[ADMINISTRATOR])
        self._check(len(known) >= self.threshold, "not approved by enough administrators")
        self._nonce += 1

    def _check_signature(self, digest: bytes, signature: Signature, role: int, seat: int) -> None:
        self.signatures += 1
        seats = self.seats[role]
        held = seat < len(seats) and recover(digest, signature) == seats[seat]
        self._check(held, f"the signature of {ROLE_NAMES[role]} {seat} is not its own")

    def _check(self, condition: bool, fault: str) -> None:
        if not condition:
            self.faults.append(Fault(self._place, fault))

    def _note(self, text: str) -> None:
        self.administration.append((self._block, text))
