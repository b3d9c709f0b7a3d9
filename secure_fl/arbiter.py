"""Who decides on a round: the chain, or nobody.

`Chain` takes every round to the contract. `Nobody` has the same methods for defences without a
ledger: it keeps every model and knows no reputations.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Protocol

from secure_fl.consortium import open_ledger
from secure_fl.ledger_settings import LedgerConfig
from secure_fl.validation import Verdict


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


class Arbiter(Protocol):
    """The steps of a round that concern more than the aggregation."""

    def open_round(self, number: int, model_sha256: str) -> None:
        """Fix the model that hospitals start from."""

    def commit(self, number: int, roots: Mapping[int, bytes]) -> dict[int, bytes] | None:
        """Record the hospitals' commitments; what the nodes will hold them to."""

    def decide(
        self,
        number: int,
        result_sha256: str,
        accepted: Sequence[bool | None],
        candidate_sha256: str,
        verdicts: Sequence[Verdict],
    ) -> Decision:
        """Record the aggregate and the validators' verdicts; end the round."""

    @property
    def cost_ms(self) -> float:
        """CPU milliseconds spent so far."""


class Nobody:
    """No ledger: every candidate is kept."""

    cost_ms = 0.0

    def __init__(self, hospitals: int) -> None:
        self.hospitals = hospitals

    def open_round(self, number: int, model_sha256: str) -> None:
        """Nothing to fix."""

    def commit(self, number: int, roots: Mapping[int, bytes]) -> dict[int, bytes] | None:
        """Nothing to record."""
        return None

    def decide(
        self,
        number: int,
        result_sha256: str,
        accepted: Sequence[bool | None],
        candidate_sha256: str,
        verdicts: Sequence[Verdict],
    ) -> Decision:
        """Keep the candidate."""
        return Decision("unchecked", True, None, [False] * self.hospitals)


class Chain:
    """A contract on a chain in this process or on a node, with the keys of all members."""

    def __init__(
        self, config: LedgerConfig, hospitals: int, validators: int, nodes: int, seed: int
    ) -> None:
        self.client = open_ledger(config, hospitals, validators, nodes, seed)
        # Of the exported chain: others may go on writing to a node's.
        self._exported: bytes | None = None

    def open_round(self, number: int, model_sha256: str) -> None:
        """Open the round on the last accepted model, or the contract refuses."""
        self.client.open_round(number, bytes.fromhex(model_sha256))

    def commit(self, number: int, roots: Mapping[int, bytes]) -> dict[int, bytes] | None:
        """Sign and record commitments; return them as the contract holds them."""
        self.client.commit(number, roots)
        return self.client.commitments(number)

    def decide(
        self,
        number: int,
        result_sha256: str,
        accepted: Sequence[bool | None],
        candidate_sha256: str,
        verdicts: Sequence[Verdict],
    ) -> Decision:
        """Record, attest, finalize; the contract keeps the candidate or the model before it."""
        candidate = bytes.fromhex(candidate_sha256)
        self.client.record_aggregate(number, bytes.fromhex(result_sha256), accepted, candidate)
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
        """CPU milliseconds spent since the chain was set up."""
        return float(self.client.cost_ms)

    @property
    def head(self) -> str:
        """Hash of the newest block, of the exported chain once there is one; hexadecimal."""
        return (self._exported or self.client.head_hash).hex()

    def export(self, path: Path) -> None:
        """Write the chain as JSON lines."""
        self._exported = self.client.export(path)
