"""Who decides on a round: the chain, or nobody.

`Chain` takes every round to the contract. `Nobody` has the same methods for defences without a
ledger: it keeps every model and knows no reputations.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from ledger.protocol.disputes import Ruling
from secure_fl.backends.statements import Findings, Signed
from secure_fl.nodes.contract import Contract
from secure_fl.server.validation import Verdict
from secure_fl.settings.ledger import LedgerConfig
from secure_fl.simulation.consortium import open_ledger

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

    def commit(self, number: int, roots: Mapping[int, bytes]) -> dict[int, bytes] | None:
        """Record the hospitals' commitments; what the nodes will hold them to."""

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

    def commit(self, number: int, roots: Mapping[int, bytes]) -> dict[int, bytes] | None:
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
        signed: Signed | None = None,
    ) -> Decision:
        """Keep the candidate."""
        return Decision("unchecked", True, None, [False] * self.hospitals)


class Chain:
    """A contract on a chain in this process or on a node, with the keys of all members."""

    def __init__(
        self,
        config: LedgerConfig,
        hospitals: int,
        validators: int,
        nodes: int,
        seed: int,
        salt: bytes | None = None,
    ) -> None:
        self.client = open_ledger(config, hospitals, validators, nodes, seed, salt)
        self._elsewhere_ms = 0.0
        # Of the exported chain: others may go on writing to a node's.
        self._exported: bytes | None = None

    def open_round(self, number: int, model_sha256: str) -> None:
        """Open the round on the last accepted model, or the contract refuses."""
        self.client.open_round(number, bytes.fromhex(model_sha256))

    def commit(self, number: int, roots: Mapping[int, bytes]) -> dict[int, bytes] | None:
        """Sign and record commitments; return them as the contract holds them."""
        self.client.commit(number, roots)
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
        self._elsewhere_ms += findings.cpu_ms
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
        signed: Signed | None = None,
    ) -> Decision:
        """Record, attest, finalize; the contract keeps the candidate or the model before it."""
        candidate = bytes.fromhex(candidate_sha256)
        signatures = None
        if signed is not None:
            signatures = signed.signatures
            self._elsewhere_ms += signed.cpu_ms
        self.client.record_aggregate(
            number, bytes.fromhex(result_sha256), accepted, candidate, signatures
        )
        self.client.attest(number, list(verdicts), candidate)
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
        return float(self.client.cost_ms) + self._elsewhere_ms

    def entrust_nodes(self) -> None:
        """Leave the nodes' keys to the nodes: nobody signs for them here from now on."""
        self.client.members = self.client.members.without_node_keys()

    @property
    def contract(self) -> Contract:
        """Which contract it is, and its hospitals."""
        connection = self.client.connection
        hospitals = tuple(signer.address for signer in self.client.members.hospitals)
        return Contract(connection.chain.chain_id, connection.address, hospitals)

    @property
    def head(self) -> str:
        """Hash of the newest block, of the exported chain once there is one; hexadecimal."""
        return (self._exported or self.client.head_hash).hex()

    def export(self, path: Path) -> None:
        """Write the chain as JSON lines."""
        self._exported = self.client.export(path)
