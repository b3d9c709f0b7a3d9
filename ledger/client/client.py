"""The typed client of the contract: it carries what each role signed, and signs for nobody."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from ledger.chains import export
from ledger.client.administration import pair
from ledger.client.connection import Call, Connection
from ledger.client.outcome import RoundOutcome
from ledger.errors import LedgerError, Reverted, require
from ledger.members.keys import Signature, Signer
from ledger.members.members import Roster
from ledger.protocol.commitments import SignedCommitment, pack, posted_proof, posted_root
from ledger.protocol.disputes import DeniedShare, Ruling, SignedOpened, WrongShare
from ledger.protocol.messages import verdicts
from ledger.protocol.parameters import from_fixed
from ledger.protocol.reputation import Timing
from ledger.protocol.roles import SealsHead, SignedAttestation
from ledger.protocol.typed_data import WORDS, from_words, to_words

COMMIT_CHUNK = 250
EACH, MERKLE = "each", "merkle"


class LedgerClient:
    """One consortium's contract on one chain, for whoever coordinates.

    Its one key is the coordinator's, which pays for transactions; members' statements come signed.
    Where one process plays all members, `ledger.client.consortium.Consortium` has their keys.

    Attributes:
        roster: addresses of all members.
        connection: the contract itself: `send` and `read` by function name.
        mode: "each": the contract verifies every commitment; "merkle": it is given one Merkle root
            over all of a round's, and verifies those that somebody reveals.
        cost_ms_by_call: CPU milliseconds spent in the methods of a round, reads included.
    """

    def __init__(self, connection: Connection, roster: Roster, mode: str = EACH) -> None:
        require(mode in (EACH, MERKLE), "mode", f"{EACH!r} or {MERKLE!r}", mode)
        self.roster = roster
        self.mode = mode
        # The current round's commitments under a posted root.
        self._posted: tuple[SignedCommitment, ...] = ()
        # Whether hospitals left out may still claim, and nodes' denials be disputed, as far as this
        # client knows; the contract says so to whoever comes too early.
        self._claims = self._denials = False
        self.cost_ms_by_call: dict[str, float] = {}
        self.connection = connection

    # ---- a round, in order ----

    def open_round(self, round_number: int, model_hash: bytes) -> None:
        """Open round `round_number` (1, 2, ...) on the last accepted model."""
        require_hash("model_hash", model_hash)
        with self._timed("open_round"):
            self._claims = self._denials = False
            self.connection.send([("open_round", (round_number, model_hash))])

    def close_commitments(
        self, round_number: int, commitments: Sequence[SignedCommitment]
    ) -> dict[int, str]:
        """Record the hospitals' signed commitments, and close the round to further ones.

        What hospitals committed to by themselves before stands. Unless all have committed, the
        closing waits for as many blocks as the contract says.

        Returns:
            Hospitals left out because they are suspended, with the reason.
        """
        for commitment in commitments:
            self._require_hospital(commitment.hospital)
        with self._timed("commit"):
            out = set(self._members_of("suspended"))
            done = set(self.committed())
            refused = {c.hospital: "suspended" for c in commitments if c.hospital in out}
            fresh = sorted(
                (c for c in commitments if c.hospital not in out | done), key=lambda c: c.hospital
            )
            committing = len(done) + len(fresh)
            complete = self.mode == EACH and committing == len(self.roster.hospitals) - len(out)
            if not complete:
                self._wait("open_blocks")
            if self.mode == MERKLE and fresh:
                self.post_commitments(round_number, fresh)
            else:
                self.submit_commitments(round_number, fresh)
            self._claims = not complete
        return refused

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
        root = posted_root(commitments, len(self.roster.hospitals))
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
        proof = posted_proof(self._posted, len(self.roster.hospitals), hospital)
        self.connection.send([("reveal_commitment", (round_number, commitment.words(), proof))])

    def claim_commitment(
        self, round_number: int, commitment: SignedCommitment, sender: Signer | None = None
    ) -> None:
        """Put in a commitment that the coordinator left out; anybody may send it, for some blocks
        after the closing."""
        self.connection.send([("claim_commitment", (round_number, commitment.words()))], sender)

    def attest_shares(self, round_number: int, opened: Sequence[SignedOpened]) -> None:
        """Record whose shares opened the roots delivered with them, as every node signed it; first
        wait until no hospital can claim any more.

        Args:
            round_number: the round, its commitments closed, its aggregate not yet recorded.
            opened: of each node, in order.
        """
        with self._timed("attest_shares"):
            call = self._shares_call(round_number, opened)
            self._end_claims()
            everybody = set(self.committed())
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
        model_hash: bytes,
        signatures: Sequence[Signature],
        opened: Sequence[SignedOpened] = (),
    ) -> None:
        """Record the aggregate, the model made from it and the verdicts, signed by every node.

        Where a node denied shares, evidence against it is waited for first. Every hospital whose
        shares opened everywhere needs a verdict.

        Args:
            round_number: the open round.
            result_hash: hash of the opened aggregate.
            accepted: per hospital True, False or None (absent: nothing changes).
            model_hash: hash of the new global model.
            signatures: of each node, in order.
            opened: what nodes state of the shares, recorded in the same block, where
                `attest_shares` was not called in this round.
        """
        require_hash("result_hash", result_hash)
        require_hash("model_hash", model_hash)
        good, bad = verdicts(accepted)
        for hospital in (*good, *bad):
            self._require_hospital(hospital)
        with self._timed("record_aggregate"):
            calls: list[Call] = []
            if opened:
                calls.append(self._shares_call(round_number, opened))
                self._end_claims()
            elif self._denials:
                self._wait("dispute_blocks")
            words = (to_words(good), to_words(bad))
            args = (round_number, result_hash, model_hash, *words, [pair(s) for s in signatures])
            self.connection.send([*calls, ("record_aggregate", args)])

    def submit_attestations(
        self, round_number: int, attestations: Sequence[SignedAttestation]
    ) -> None:
        """Record signed attestations; anybody may, and those that are there already stay."""
        with self._timed("attest"):
            entries = [attestation.words() for attestation in attestations]
            self.connection.send([("attest_batch", (round_number, entries))])

    def finalize(self, round_number: int) -> RoundOutcome:
        """End the round; the contract takes medians, keeps or rolls back, moves reputations.

        Unless all validators attested, others may do so for some blocks after the quorum.
        """
        with self._timed("finalize"):
            attested = self.connection.read("attestations")
            if attested < len(self.roster.validators):
                *_, quorum = self.connection.read("limits")
                if attested >= quorum:
                    self._wait("quorum_blocks")
            (events,) = self.connection.send([("finalize", (round_number,))])
            (final,) = (event.args for event in events if event.name == "RoundFinalized")
            standings = self.connection.standings(len(self.roster.hospitals))
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
            roots = self.connection.read("commitments", 0, len(self.roster.hospitals))
        return {hospital: root for hospital, root in enumerate(roots) if any(root)}

    def _under(self, root: bytes) -> dict[int, bytes]:
        """The commitments under a posted root; what the contract holds of a hospital, because it
        committed by itself or claimed, counts in its place."""
        size = len(self.roster.hospitals)
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
        words = -(-len(self.roster.hospitals) // 256)
        read = [self.connection.read(name, i) for i in range(words)]
        return from_words([*read, *[0] * (WORDS - words)])

    def reputations(self) -> list[float]:
        """Reputation of every hospital, in [0, 1]."""
        standings = self.connection.standings(len(self.roster.hospitals))
        return [from_fixed(value) for value in standings.reputations]

    def suspended(self) -> list[bool]:
        """Whether each hospital is suspended."""
        return list(self.connection.standings(len(self.roster.hospitals)).suspended)

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

    def export(self, path: str | Path, validators: Sequence[SealsHead]) -> bytes:
        """Write the chain and the validators' signatures on its head as JSON lines.

        Args:
            path: of the file.
            validators: who sign it, in order of seat.

        Returns:
            Hash of the last block written.
        """
        lines = self.connection.chain.lines(self.connection.address)
        return export.write_sealed(Path(path), lines, validators)

    def posted_root(self) -> bytes:
        """Root over the current round's commitments; zero where each was verified."""
        return bytes(self.connection.read("posted_root"))

    def _shares_call(self, round_number: int, opened: Sequence[SignedOpened]) -> Call:
        """Every node's signed statement on its shares, as one call."""
        seats = len(self.roster.nodes)
        require(len(opened) == seats, "opened", f"{seats} nodes' statements", len(opened))
        return "attest_shares", (round_number, [said.words() for said in opened])

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
        last = len(self.roster.hospitals) - 1
        require(0 <= hospital <= last, "hospital", f"0 to {last}", hospital)

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        start = time.process_time()
        try:
            yield
        finally:
            spent = 1000 * (time.process_time() - start)
            self.cost_ms_by_call[name] = self.cost_ms_by_call.get(name, 0.0) + spent


def require_hash(name: str, value: bytes) -> None:
    """Check that a hash has 32 bytes."""
    require(len(value) == 32, name, "32 bytes", len(value))
