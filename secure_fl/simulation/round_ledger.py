"""Who decides on a round: the chain, or nobody.

`Chain` takes every round to the contract: it asks hospitals and validators for what they sign, and
carries it. `Nobody` has the same methods for defences without a
ledger: it keeps every model and knows no reputations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from time import process_time
from typing import TYPE_CHECKING, NamedTuple, Protocol

from ledger.protocol.disputes import Ruling, SignedOpened
from ledger.protocol.messages import verdicts as sides
from ledger.protocol.roles import NodeKey
from secure_fl.backends.statements import Findings, Signed
from secure_fl.hospital.hospital import Hospital
from secure_fl.nodes.contract import Contract
from secure_fl.server.validation import Validator, Verdict

if TYPE_CHECKING:
    from ledger.client.client import LedgerClient

ZERO = bytes(32)


class Decision(NamedTuple):
    """What was decided about a round's candidate.

    Attributes:
        status: "accepted", "abnormal" (rolled back) or "unchecked".
        keep: whether the candidate becomes the model.
        reputation: of every hospital, in [0, 1]; None where nobody keeps it.
        suspended: of every hospital.
    """

    status: str
    keep: bool
    reputation: list[float] | None
    suspended: list[bool]


class Settlement(NamedTuple):
    """Whose shares count in a round.

    Attributes:
        in_play: hospitals whose shares opened at every node, or count as opened by a ruling.
        ruled: (hospital, node) of shares that count by a ruling against the node.
        rulings: all disputes, as the contract decided them.
    """

    in_play: set[int]
    ruled: tuple[tuple[int, int], ...] = ()
    rulings: tuple[Ruling, ...] = ()


class RoundLedger(Protocol):
    """The steps of a round that concern more than the aggregation."""

    def open_round(self, number: int, model_sha256: str) -> None:
        """Fix the model that hospitals start from."""

    def commit(
        self, number: int, roots: Mapping[int, bytes], hospitals: Sequence[Hospital]
    ) -> dict[int, bytes] | None:
        """Record what hospitals committed to, signed by them; what nodes will hold them to."""

    @property
    def posted_root(self) -> bytes:
        """Root over the round's commitments; zero where each is recorded by itself."""

    def settle(
        self, number: int, committed: Collection[int], findings: Findings | None
    ) -> Settlement:
        """Record what nodes attest of the shares, and have disputes decided."""

    def decide(
        self,
        number: int,
        result_sha256: str,
        accepted: Sequence[bool | None],
        candidate_sha256: str,
        verdicts: Sequence[Verdict],
        validators: Sequence[Validator],
        signed: Signed | None = None,
    ) -> Decision:
        """Record the aggregate and the validators' verdicts; end the round."""

    @property
    def cost_ms(self) -> float:
        """CPU milliseconds spent so far."""


class Nobody:
    """No ledger: every candidate is kept."""

    cost_ms = 0.0
    posted_root = ZERO

    def __init__(self, hospitals: int) -> None:
        self.hospitals = hospitals

    def open_round(self, number: int, model_sha256: str) -> None:
        """Nothing to fix."""

    def commit(
        self, number: int, roots: Mapping[int, bytes], hospitals: Sequence[Hospital]
    ) -> dict[int, bytes] | None:
        """Nothing to record."""
        return None

    def settle(
        self, number: int, committed: Collection[int], findings: Findings | None
    ) -> Settlement:
        """All who committed are in play, as far as anybody here knows."""
        return Settlement(set(committed))

    def decide(
        self,
        number: int,
        result_sha256: str,
        accepted: Sequence[bool | None],
        candidate_sha256: str,
        verdicts: Sequence[Verdict],
        validators: Sequence[Validator],
        signed: Signed | None = None,
    ) -> Decision:
        """Keep the candidate."""
        return Decision("unchecked", True, None, [False] * self.hospitals)


class Chain:
    """A contract on a chain in this process or on a node, without a member's key.

    Args:
        client: of the contract.
        nodes: those that are played here, in order of seat; none where they are processes of their
            own, which sign by themselves.
    """

    def __init__(self, client: LedgerClient, nodes: Sequence[NodeKey] = ()) -> None:
        self.client = client
        self._nodes = tuple(nodes)
        # Of the round under way: the hash of the model that it starts from.
        self._model = ZERO
        # CPU milliseconds that members spent on signing.
        self._signing_ms = 0.0
        # Of the exported chain: others may go on writing to a node's.
        self._exported: bytes | None = None

    def open_round(self, number: int, model_sha256: str) -> None:
        """Open the round on the last accepted model, or the contract refuses."""
        self._model = bytes.fromhex(model_sha256)
        self.client.open_round(number, self._model)

    def commit(
        self, number: int, roots: Mapping[int, bytes], hospitals: Sequence[Hospital]
    ) -> dict[int, bytes] | None:
        """Have them signed, and record them; return them as the contract holds them."""
        # In the clear a hospital commits when its root is read.
        committing = [hospitals[seat] for seat in sorted(dict(roots))]
        before = _spent(committing)
        signed = [hospital.sign_commitment(number, self._model) for hospital in committing]
        self._signing_ms += _spent(committing) - before
        self.client.close_commitments(number, signed)
        return self.client.commitments(number)

    @property
    def posted_root(self) -> bytes:
        """Root over the round's commitments; zero where each is recorded by itself."""
        return ZERO if self.client.mode == "each" else self.client.posted_root()

    def settle(
        self, number: int, committed: Collection[int], findings: Findings | None
    ) -> Settlement:
        """Record the nodes' own statements, then let the contract decide on the evidence.

        Where the nodes hold no keys of their own, all who committed count as opened.
        """
        if findings is None:
            return Settlement(set(committed))
        self._signing_ms += findings.cpu_ms
        self.client.attest_shares(number, findings.opened)
        rulings = self.client.dispute(number, [*findings.wrong_shares, *findings.denials])
        ruled = {(r.hospital, r.node) for r in rulings if r.at_fault == "node"}
        faulty = {r.hospital for r in rulings if r.at_fault == "hospital"}
        in_play = {
            hospital
            for hospital in set(committed) - faulty
            if all(hospital in s.hospitals or (hospital, s.node) in ruled for s in findings.opened)
        }
        return Settlement(in_play, tuple(sorted(ruled)), tuple(rulings))

    def decide(
        self,
        number: int,
        result_sha256: str,
        accepted: Sequence[bool | None],
        candidate_sha256: str,
        verdicts: Sequence[Verdict],
        validators: Sequence[Validator],
        signed: Signed | None = None,
    ) -> Decision:
        """Record, attest, finalize; the contract keeps the candidate or the model before it.

        Nodes that are played here attest in the same block that all shares opened.
        """
        result, candidate = bytes.fromhex(result_sha256), bytes.fromhex(candidate_sha256)
        opened: list[SignedOpened] = []
        if signed is None:
            opened, signed = self._played(number, result, candidate, accepted)
        self._signing_ms += signed.cpu_ms
        self.client.record_aggregate(number, result, accepted, candidate, signed.signatures, opened)
        before = _spent(validators)
        attestations = [
            validator.attest(number, candidate, verdict)
            for validator, verdict in zip(validators, verdicts, strict=True)
        ]
        self._signing_ms += _spent(validators) - before
        self.client.submit_attestations(number, attestations)
        outcome = self.client.finalize(number)
        return Decision(
            outcome.status,
            outcome.model == candidate,
            outcome.reputations,
            outcome.suspended,
        )

    @property
    def cost_ms(self) -> float:
        """CPU milliseconds spent since the chain was set up, by nodes and hospitals too."""
        return self.client.cost_ms + self._signing_ms

    def _played(
        self, number: int, result: bytes, candidate: bytes, accepted: Sequence[bool | None]
    ) -> tuple[list[SignedOpened], Signed]:
        """What the nodes that are played here say: all shares opened, and this is the result."""
        start = process_time()
        root, committed = self.posted_root, self.client.committed()
        opened = [node.opened(number, root, committed) for node in self._nodes]
        good, bad = sides(accepted)
        signatures = [node.result(number, result, candidate, good, bad) for node in self._nodes]
        return opened, Signed(tuple(signatures), 1000 * (process_time() - start))

    @property
    def contract(self) -> Contract:
        """Which contract it is, and its hospitals."""
        connection = self.client.connection
        hospitals = self.client.roster.hospitals
        return Contract(connection.chain.chain_id, connection.address, hospitals)

    @property
    def head(self) -> str:
        """Hash of the newest block, of the exported chain once there is one; hexadecimal."""
        return (self._exported or self.client.head_hash).hex()

    def export(self, path: Path, validators: Sequence[Validator]) -> None:
        """Write the chain as JSON lines, its head signed by the validators."""
        self._exported = self.client.export(path, validators)


def _spent(members: Sequence[Hospital] | Sequence[Validator]) -> float:
    """CPU milliseconds that members spent on signing so far."""
    return sum(member.cpu_ms for member in members)
