"""The typed client of the contract: one method for each step of a round."""

import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ledger.chains import export
from ledger.chains.in_process import Chain
from ledger.client.administration import Administration, pair
from ledger.client.connection import Call, Connection
from ledger.errors import LedgerError, Reverted, require
from ledger.members.keys import Signature, Signer
from ledger.members.members import HOSPITAL, NODE, VALIDATOR, Members
from ledger.protocol.commitments import SignedCommitment, pack, posted_proof, posted_root
from ledger.protocol.disputes import DeniedShare, Ruling, SignedOpened, WrongShare
from ledger.protocol.messages import verdicts
from ledger.protocol.parameters import Parameters, from_fixed, loss_to_fixed, to_fixed
from ledger.protocol.reputation import Timing
from ledger.protocol.typed_data import WORDS, from_words, to_words

COMMIT_CHUNK = 250
EACH, MERKLE = "each", "merkle"


@dataclass(frozen=True)
class RoundOutcome:
    """What the contract decided about a round.

    Attributes:
        round: its number.
        status: "accepted", or "abnormal" when it was rolled back.
        model: hash of the model that the next round starts from.
        accuracy, loss, f1: medians of the validators' attestations.
        reputations: of every hospital after the round, in [0, 1].
        suspended: of every hospital after the round.
    """

    round: int
    status: str
    model: bytes
    accuracy: float
    loss: float
    f1: float
    reputations: list[float]
    suspended: list[bool]


@dataclass(frozen=True)
class SignedAttestation:
    """A validator's measurements in units of 10**-18, with its signature."""

    validator: int
    accuracy: int
    loss: int
    f1: int
    signature: Signature


class LedgerClient:
    """One consortium's contract on one chain, with the keys of all simulated members.

    Attributes:
        members: the keys.
        connection: the contract itself: `send` and `read` by function name.
        administration: changes that need a quorum of administrators.
        mode: "each": the contract verifies every commitment; "merkle": it is given one Merkle root
            over all of a round's, and verifies those that somebody reveals.
        cost_ms: CPU milliseconds spent in the methods of a round, signing and reads included.
        cost_ms_by_call: the same by method.
    """

    def __init__(self, connection: Connection, members: Members, mode: str = EACH) -> None:
        require(mode in (EACH, MERKLE), "mode", f"{EACH!r} or {MERKLE!r}", mode)
        self.members = members
        self.mode = mode
        # The current round's commitments under a posted root.
        self._posted: tuple[SignedCommitment, ...] = ()
        # Whether hospitals left out may still claim, and nodes' denials be disputed, as far as this
        # client knows; the contract says so to whoever comes too early.
        self._claims = self._denials = False
        self.cost_ms_by_call: dict[str, float] = {}
        self.connection = connection
        self.administration = Administration(
            self.connection, members.administrators[: members.threshold]
        )

    @classmethod
    def found(
        cls,
        chain: Chain,
        members: Members,
        parameters: Parameters,
        mode: str = EACH,
        deployer: Signer | None = None,
    ) -> "LedgerClient":
        """Create the contract on a chain, with a key that pays, and register all members."""
        require(
            parameters.quorum <= len(members.validators),
            "quorum",
            f"at most the {len(members.validators)} validators",
            parameters.quorum,
        )
        client = cls(Connection.deploy(chain, members, parameters, deployer), members, mode)
        client.register_all()
        return client

    def register_all(self) -> None:
        """Register those hospitals, nodes and validators that have no seat yet."""
        for role in (HOSPITAL, NODE, VALIDATOR):
            seated = int(self.connection.read("count", role))
            keys = [signer.address for signer in self.members.of_role(role)]
            if keys[seated:]:
                self.administration.register(role, keys[seated:])

    def attest_initial(
        self, model_hash: bytes, metrics: Sequence[tuple[float, float, float] | None]
    ) -> RoundOutcome:
        """Before the first round: let validators attest the initial model, as its baseline."""
        self.connection.send([("propose_initial", (model_hash,))])
        self.attest(0, metrics, model_hash)
        return self.finalize(0)

    # ---- a round, in order ----

    def open_round(self, round_number: int, model_hash: bytes) -> None:
        """Open round `round_number` (1, 2, ...) on the last accepted model."""
        _require_hash("model_hash", model_hash)
        with self._timed("open_round"):
            self._claims = self._denials = False
            self.connection.send([("open_round", (round_number, model_hash))])

    def commit(self, round_number: int, roots: Mapping[int, bytes]) -> dict[int, str]:
        """Sign each hospital's root with its key, record all, and close the commitments.

        What hospitals committed to by themselves before stands. Unless all have committed, the
        closing waits for as many blocks as the contract says.

        Returns:
            Hospitals left out because they are suspended, with the reason.
        """
        for hospital, root in roots.items():
            self._require_hospital(hospital)
            _require_hash(f"root of hospital {hospital}", root)
        with self._timed("commit"):
            model = self.model_hash
            out = set(self._members_of("suspended"))
            done = set(self.committed())
            refused = {hospital: "suspended" for hospital in roots if hospital in out}
            signed = [
                self.sign_commitment(hospital, round_number, model, root)
                for hospital, root in sorted(roots.items())
                if hospital not in refused and hospital not in done
            ]
            committing = len(done) + len(signed)
            complete = self.mode == EACH and committing == len(self.members.hospitals) - len(out)
            if not complete:
                self._wait("open_blocks")
            if self.mode == MERKLE and signed:
                self.post_commitments(round_number, signed)
            else:
                self.submit_commitments(round_number, signed)
            self._claims = not complete
        return refused

    def sign_commitment(
        self,
        hospital: int,
        round_number: int,
        model_hash: bytes,
        root: bytes,
        signer: Signer | None = None,
    ) -> SignedCommitment:
        """What a hospital does by itself: sign its root for this round and model."""
        signer = signer or self.members.hospitals[hospital]
        digest = self.connection.messages.commitment(round_number, model_hash, root)
        return SignedCommitment(hospital, root, signer.sign(digest))

    def submit_commitments(
        self, round_number: int, commitments: Sequence[SignedCommitment], last: bool = True
    ) -> None:
        """Record signed commitments in one block; `last` closes the round to further ones, which
        the contract refuses while hospitals that have not committed may still do so."""
        entries = [c.words() for c in commitments]
        chunks = [entries[i : i + COMMIT_CHUNK] for i in range(0, len(entries), COMMIT_CHUNK)]
        chunks = chunks or [[]]
        self.connection.send(
            [
                ("commit_batch", (round_number, chunk, last and i == len(chunks) - 1))
                for i, chunk in enumerate(chunks)
            ]
        )
        self._claims = last

    def post_commitments(self, round_number: int, commitments: Sequence[SignedCommitment]) -> None:
        """Post one Merkle root over the signed commitments, and close the round to further ones."""
        root = posted_root(commitments, len(self.members.hospitals))
        committed = to_words([c.hospital for c in commitments])
        args = (round_number, root, committed, pack(commitments))
        self.connection.send([("post_commitments", args)])
        self._posted = tuple(commitments)
        self._claims = True

    def reveal_commitment(self, round_number: int, hospital: int) -> None:
        """Show the contract a commitment under the posted root, so that it decides: signed by the
        hospital, it is held from now on; not signed, the round is void and the coordinator at
        fault."""
        (commitment,) = (c for c in self._posted if c.hospital == hospital)
        proof = posted_proof(self._posted, len(self.members.hospitals), hospital)
        self.connection.send([("reveal_commitment", (round_number, commitment.words(), proof))])

    def claim_commitment(
        self, round_number: int, commitment: SignedCommitment, sender: Signer | None = None
    ) -> None:
        """Put in a commitment that the coordinator left out; anybody may send it, for some blocks
        after the closing."""
        self.connection.send([("claim_commitment", (round_number, commitment.words()))], sender)

    def attest_shares(
        self,
        round_number: int,
        opened: Sequence[Collection[int]] | Sequence[SignedOpened] | None = None,
    ) -> None:
        """Record, signed by each node, whose shares opened the roots delivered with them; first
        wait until no hospital can claim any more.

        Args:
            round_number: the round, its commitments closed, its aggregate not yet recorded.
            opened: hospitals by node, signed here with the nodes' keys; or what nodes signed
                elsewhere; if not given, all who committed, at every node.
        """
        with self._timed("attest_shares"):
            self._end_claims()
            call = self._shares_call(round_number, opened)
            everybody = set() if opened is None else set(self.committed())
            events = self.connection.send([call])
            told = [from_words(e.args["opened"]) for e in events[0] if e.name == "SharesAttested"]
            self._denials = any(everybody.difference(members) for members in told)

    def dispute(
        self, round_number: int, evidence: Sequence[WrongShare | DeniedShare]
    ) -> list[Ruling]:
        """Take disputes to the contract, one by one; it refuses evidence that is none."""
        with self._timed("dispute"):
            return [self._ruling(round_number, piece) for piece in evidence]

    def _ruling(self, round_number: int, piece: WrongShare | DeniedShare) -> Ruling:
        hospital, node = piece.hospital, piece.node
        try:
            if not any(self.connection.read("commitments", hospital, 1)[0]):
                self.reveal_commitment(round_number, hospital)
            (events,) = self.connection.send([piece.call(round_number)])
        except Reverted as refusal:
            return Ruling(hospital, node, "", str(refusal))
        (event,) = (event for event in events if event.name == "ShareDisputed")
        return Ruling(hospital, node, "hospital" if event.args["hospital_at_fault"] else "node")

    def record_aggregate(
        self,
        round_number: int,
        result_hash: bytes,
        accepted: Sequence[bool | None] | Mapping[int, bool],
        model_hash: bytes | None = None,
        signatures: Sequence[Signature] | None = None,
    ) -> None:
        """Record the aggregate, the model made from it and the verdicts, signed by every node.

        Unless `attest_shares` was called in this round, the nodes attest in the same block that
        the shares of all who committed opened. Where a node denied shares, evidence against it is
        waited for first. Every hospital whose shares opened everywhere needs a verdict.

        Args:
            round_number: the open round.
            result_hash: hash of the opened aggregate.
            accepted: per hospital True, False or None (absent: nothing changes).
            model_hash: hash of the new global model; `result_hash` if not given.
            signatures: the nodes' own, made elsewhere; if not given, made here with their keys.
        """
        candidate = result_hash if model_hash is None else model_hash
        _require_hash("result_hash", result_hash)
        _require_hash("model_hash", candidate)
        good, bad = verdicts(accepted)
        for hospital in (*good, *bad):
            self._require_hospital(hospital)
        with self._timed("record_aggregate"):
            if signatures is None:
                digest = self.connection.messages.result(
                    round_number, result_hash, candidate, good, bad
                )
                signatures = [node.sign(digest) for node in self.members.nodes]
            words = (to_words(good), to_words(bad))
            calls: list[Call] = []
            if self._denials:
                self._wait("dispute_blocks")
            elif not self.connection.read("heard"):
                self._end_claims()
                calls.append(self._shares_call(round_number, None))
            args = (round_number, result_hash, candidate, *words, [pair(s) for s in signatures])
            self.connection.send([*calls, ("record_aggregate", args)])

    def attest(
        self,
        round_number: int,
        metrics: Sequence[tuple[float, float, float] | None],
        model_hash: bytes,
    ) -> None:
        """Record each validator's (accuracy, loss, F1) on the model, signed by it; None: silent."""
        limit = len(self.members.validators)
        require(len(metrics) <= limit, "metrics", f"at most {limit} validators'", len(metrics))
        _require_hash("model_hash", model_hash)
        with self._timed("attest"):
            self.submit_attestations(
                round_number,
                [
                    self.sign_attestation(validator, round_number, model_hash, *measured)
                    for validator, measured in enumerate(metrics)
                    if measured is not None
                ],
            )

    def sign_attestation(
        self,
        validator: int,
        round_number: int,
        model_hash: bytes,
        accuracy: float,
        loss: float,
        f1: float,
        signer: Signer | None = None,
    ) -> SignedAttestation:
        """What a validator does by itself: sign what it measured on this model."""
        for name, value in (("accuracy", accuracy), ("f1", f1)):
            require(0 <= value <= 1, name, "in [0, 1]", value)
        signer = signer or self.members.validators[validator]
        fixed = (to_fixed(accuracy), loss_to_fixed(loss), to_fixed(f1))
        digest = self.connection.messages.attestation(round_number, model_hash, *fixed)
        return SignedAttestation(validator, *fixed, signer.sign(digest))

    def submit_attestations(
        self, round_number: int, attestations: Sequence[SignedAttestation]
    ) -> None:
        """Record signed attestations; anybody may, and those that are there already stay."""
        entries = [
            (a.validator, a.accuracy, a.loss, a.f1, *pair(a.signature)) for a in attestations
        ]
        self.connection.send([("attest_batch", (round_number, entries))])

    def finalize(self, round_number: int) -> RoundOutcome:
        """End the round; the contract takes medians, keeps or rolls back, moves reputations.

        Unless all validators attested, others may do so for some blocks after the quorum.
        """
        with self._timed("finalize"):
            attested = self.connection.read("attestations")
            if attested < len(self.members.validators):
                *_, quorum = self.connection.read("limits")
                if attested >= quorum:
                    self._wait("quorum_blocks")
            (events,) = self.connection.send([("finalize", (round_number,))])
            (final,) = (event.args for event in events if event.name == "RoundFinalized")
            standings = self.connection.standings(len(self.members.hospitals))
        return RoundOutcome(
            round=round_number,
            status="abnormal" if final["abnormal"] else "accepted",
            model=final["model"],
            accuracy=from_fixed(final["accuracy"]),
            loss=from_fixed(final["loss"]),
            f1=from_fixed(final["f1"]),
            reputations=[from_fixed(value) for value in standings.reputations],
            suspended=list(standings.suspended),
        )

    def abandon_round(self, round_number: int) -> None:
        """End a round that cannot complete; nobody's standing changes."""
        with self._timed("abandon_round"):
            self.connection.send([("abandon_round", (round_number,))])

    # ---- what the chain knows ----

    def commitments(self, round_number: int) -> dict[int, bytes]:
        """Roots that hospitals committed to, read from the contract; `round_number` must be the
        current round, whose state alone the contract keeps (the past is in the blocks). Waits until
        no hospital can claim any more."""
        with self._timed("commitments"):
            current = self.connection.read("round")
            require(round_number == current, "round_number", f"the round {current}", round_number)
            self._end_claims()
            root = self.connection.read("posted_root")
            if any(root):
                return self._under(root)
            roots = self.connection.read("commitments", 0, len(self.members.hospitals))
        return {hospital: root for hospital, root in enumerate(roots) if any(root)}

    def _under(self, root: bytes) -> dict[int, bytes]:
        """The commitments under a posted root; what the contract holds of a hospital, because it
        committed by itself or claimed, counts in its place."""
        size = len(self.members.hospitals)
        if not self._posted or posted_root(self._posted, size) != root:
            raise LedgerError(f"this client holds no commitments under the root 0x{root.hex()}")
        roots = self.connection.read("commitments", 0, size)
        known = {hospital: root for hospital, root in enumerate(roots) if any(root)}
        return {c.hospital: c.root for c in self._posted} | known

    def committed(self) -> list[int]:
        """Hospitals that committed in the current round."""
        return self._members_of("committed")

    def _members_of(self, name: str) -> list[int]:
        """A set of hospitals that the contract holds."""
        words = -(-len(self.members.hospitals) // 256)
        read = [self.connection.read(name, i) for i in range(words)]
        return from_words([*read, *[0] * (WORDS - words)])

    def reputations(self) -> list[float]:
        """Reputation of every hospital, in [0, 1]."""
        standings = self.connection.standings(len(self.members.hospitals))
        return [from_fixed(value) for value in standings.reputations]

    def suspended(self) -> list[bool]:
        """Whether each hospital is suspended."""
        return list(self.connection.standings(len(self.members.hospitals)).suspended)

    @property
    def model_hash(self) -> bytes:
        """Hash of the last accepted model, which the next round must start from."""
        return bytes(self.connection.read("model"))

    @property
    def head_hash(self) -> bytes:
        """Hash of the newest block."""
        return self.connection.chain.head_hash

    @property
    def cost_ms(self) -> float:
        """CPU milliseconds spent in the methods of a round so far."""
        return sum(self.cost_ms_by_call.values())

    def export(self, path: str | Path) -> bytes:
        """Write the chain and the validators' signatures on its head as JSON lines.

        Returns:
            Hash of the last block written.
        """
        lines = self.connection.chain.lines(self.connection.address)
        return export.write_sealed(
            Path(path), lines, self.connection.messages, self.members.validators
        )

    def posted_root(self) -> bytes:
        """Root over the current round's commitments; zero where each was verified."""
        return bytes(self.connection.read("posted_root"))

    def _shares_call(
        self,
        round_number: int,
        opened: Sequence[Collection[int]] | Sequence[SignedOpened] | None,
    ) -> Call:
        """Every node's signed statement on its shares, as one call."""
        nodes = self.members.nodes
        sets: Sequence[Collection[int] | SignedOpened]
        sets = [self.committed()] * len(nodes) if opened is None else opened
        require(len(sets) == len(nodes), "opened", f"{len(nodes)} nodes' sets", len(sets))
        root = self.posted_root()
        entries = []
        for node, (signer, said) in enumerate(zip(nodes, sets, strict=True)):
            if not isinstance(said, SignedOpened):
                digest = self.connection.messages.opened(round_number, root, said)
                said = SignedOpened(node, tuple(said), signer.sign(digest))
            entries.append(said.words())
        return "attest_shares", (round_number, entries)

    def _wait(self, step: str) -> None:
        """Wait until the contract lets the next step happen, for the blocks named `step`."""
        timing = Timing(*self.connection.read("timing"))
        blocks: int = getattr(timing, step)
        self.connection.reach(self.connection.read("since") + blocks + 1)

    def _end_claims(self) -> None:
        """Wait until no hospital can claim any more."""
        if self._claims:
            self._wait("dispute_blocks")
            self._claims = False

    def _require_hospital(self, hospital: int) -> None:
        last = len(self.members.hospitals) - 1
        require(0 <= hospital <= last, "hospital", f"0 to {last}", hospital)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            spent = 1000 * (time.process_time() - start)
            self.cost_ms_by_call[name] = self.cost_ms_by_call.get(name, 0.0) + spent


def _require_hash(name: str, value: bytes) -> None:
    require(len(value) == 32, name, "32 bytes", len(value))
