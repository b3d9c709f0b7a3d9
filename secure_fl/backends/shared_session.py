"""A session on the nodes: the coordinator's side of it, which carries."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, Protocol

import torch

from ledger.members.keys import Signature
from ledger.protocol.disputes import SignedOpened, WrongShare
from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.backends.questions import Check
from secure_fl.backends.session import Public, Session, Submission
from secure_fl.backends.statements import Findings, Signed
from secure_fl.errors import NodeFailure, SecureFLError, require
from secure_fl.hospital.hospital import Hospital
from secure_fl.nodes.answers import (
    A,
    Done,
    Evidence,
    Receipts,
    RecordsSigned,
    ResultSigned,
    Statement,
    check,
)
from secure_fl.nodes.combined import Asked, Combined
from secure_fl.nodes.commands import (
    Aggregate,
    CheckShares,
    CloseSession,
    Command,
    GiveReceipts,
    OpenSession,
    SignRecords,
    SignResult,
)
from secure_fl.nodes.shares import Delivery
from secure_fl.types import AggregateResult, Cost

# What nodes must answer alike.


class Nodes(Protocol):
    """What a session needs of the cluster."""

    nodes: int

    @property
    def running(self) -> bool:
        """Whether the processes are up."""

    def ask(
        self,
        message: dict[str, Any],
        payload: bytes = b"",
        each: Sequence[Mapping[str, Any]] | None = None,
        check: Check | None = None,
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Send one command to all nodes and return their answers, checked as they come."""

    def tell(self, rank: int, message: dict[str, Any], *payload: bytes) -> None:
        """Send one message to one node."""


class Carried:
    """A way to one node, by the coordinator's channel to it.

    Args:
        backend: that holds the channel.
        session: that the shares are for.
        rank: the node's.
    """

    def __init__(self, backend: Nodes, session: int, rank: int) -> None:
        self._backend, self._session, self._rank = backend, session, rank

    def deliver(self, hospital: int, delivery: Delivery) -> None:
        """Bring the node a hospital's share, as it was given."""
        self._backend.tell(self._rank, *delivery.write(self._session, hospital))


class MpcSession(Session):
    """A session on the nodes: carries what hospitals and nodes say to each other.

    Where the hospitals have a contract they sign what they deliver, nodes give receipts and sign
    what they attest.
    """

    def __init__(
        self, backend: Nodes, number: int, rule: Pipeline, members: Sequence[Hospital], dim: int
    ) -> None:
        super().__init__(rule, members, dim)
        self._backend = backend
        self._number = number
        self.contract = self.members[0].contract
        alike = all(hospital.contract == self.contract for hospital in self.members)
        require(alike, "contract", "the same for all hospitals", "several")
        self._addresses = [Carried(backend, number, rank) for rank in range(backend.nodes)]
        self._checked = False
        self._cpu_ms = 0.0
        sizes = (self.hospitals, self.dim)
        self._asked = Asked(*sizes, tuple(rule.declaration(*sizes)))
        try:
            self._ask(OpenSession(number, rule.to_config(), *sizes, self.contract), Done)
        except SecureFLError:
            self.close()  # at nodes that did open it
            raise

    def _ask(self, command: Command, kind: type[A]) -> list[A]:
        """Every node's answer, of the kind that the command has; see `secure_fl.nodes.answers`."""
        message, payload = command.write()
        answers = self._backend.ask(message, payload, check=partial(check, kind, self._asked))
        return [kind.read(*answer) for answer in answers]

    def _share(
        self, x: torch.Tensor, hospitals: Sequence[int], copy: bool
    ) -> tuple[Mapping[int, bytes], Any]:
        """Each hospital splits its update, commits, and sends every node its share."""
        self._checked = False
        before = self._signing_ms()
        bits = self.rule.bits
        roots = {
            h: self.members[h].hand_in(self._round, x[h].double(), bits, self._addresses)
            for h in hospitals
        }
        self._cpu_ms += self._signing_ms() - before
        if self.contract is not None:
            self._bring_receipts()
        return roots, None

    def _signing_ms(self) -> float:
        return sum(hospital.cpu_ms for hospital in self.members)

    def _bring_receipts(self) -> None:
        """Bring hospitals what nodes sign for the shares that they received."""
        answers = self._ask(GiveReceipts(self._number, self._round), Receipts)
        for rank, answer in enumerate(answers):
            self._cpu_ms += answer.cpu_ms
            for hospital, receipt in answer.receipts.items():
                self.members[hospital].keep(rank, Signature.from_bytes(receipt))

    def check_shares(
        self, commitments: Mapping[int, bytes], posted_root: bytes = bytes(32)
    ) -> Findings | None:
        """Let every node open the commitments and sign what it found, before anything else.

        Returns:
            What they said, and the evidence on both sides; None in a session without a contract.
        """
        if self.contract is None:
            return None
        command = CheckShares(self._number, self._round, commitments, posted_root)
        answers = self._ask(command, Statement)
        self._checked = True
        opened = tuple(
            SignedOpened(rank, tuple(answer.opened), Signature.from_bytes(answer.signature))
            for rank, answer in enumerate(answers)
        )
        wrong_shares = tuple(
            _wrong_share(rank, piece)
            for rank, answer in enumerate(answers)
            for piece in answer.wrong_shares
        )
        spent = self._cpu_ms + sum(answer.cpu_ms for answer in answers)
        self._cpu_ms = 0.0
        denied = {
            hospital: f"node {said.node} says that the share did not open"
            for said in opened[::-1]
            for hospital in set(commitments) - set(said.hospitals)
        }
        denials = tuple(
            denial
            for said in opened
            for hospital in sorted(set(commitments) - set(said.hospitals))
            if (denial := self.members[hospital].answer(self._round, said)) is not None
        )
        return Findings(opened, wrong_shares, denials, denied | _refused(answers), spent)

    def sign_result(self, result_sha256: str, candidate_sha256: str) -> Signed | None:
        """Let every node sign the last aggregation's result and the model made from it.

        Returns:
            Their signatures; None in a session without a contract.

        Raises:
            InputError: a node opened something else.
        """
        if self.contract is None:
            return None
        command = SignResult(self._number, self._round, result_sha256, candidate_sha256)
        answers = self._ask(command, ResultSigned)
        return Signed(
            tuple(Signature.from_bytes(answer.signature) for answer in answers),
            sum(answer.cpu_ms for answer in answers),
        )

    def sign_closing(
        self, entry: int, candidate_sha256: str, records: bytes
    ) -> tuple[Findings, Signed] | None:
        """Let every node sign a run's last entry, over the records of all its rounds.

        Args:
            entry: its number, one above the last round.
            candidate_sha256: hash of the final model.
            records: `secure_fl.simulation.folder.records_content`.

        Returns:
            The statements that no share opened in it, and the results; None without a contract.

        Raises:
            InputError: the records say of a round what a node did not sign.
        """
        if self.contract is None:
            return None
        command = SignRecords(self._number, entry, candidate_sha256, records)
        answers = self._ask(command, RecordsSigned)
        opened = tuple(
            SignedOpened(rank, (), Signature.from_bytes(answer.opened))
            for rank, answer in enumerate(answers)
        )
        results = tuple(Signature.from_bytes(answer.result) for answer in answers)
        spent = sum(answer.cpu_ms for answer in answers)
        return Findings(opened, (), (), {}, 0.0), Signed(results, spent)

    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        samples: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: Mapping[int, bytes],
        ruled: Sequence[tuple[int, int]],
        public: Public,
    ) -> AggregateResult:
        require(public.seed is None, "seed", "left to the nodes, who derive it", "one")
        if self.contract is not None and not self._checked:
            self.check_shares(commitments)
        command = Aggregate(
            self._number,
            self._round,
            reputation.tolist(),
            samples.tolist(),
            ruled,
            None if self._checked else commitments,
            None if reference is None else reference.numpy(),
            None if public.model is None else public.model.numpy(),
        )
        answers = self._ask(command, Combined)
        first = answers[0]
        for rank, other in enumerate(answers[1:], start=1):
            if _opened(other) != _opened(first):
                raise NodeFailure(f"node {rank} opened other values than node 0")
        submission.refused.update(_refused(answers))
        values = {name: torch.from_numpy(value) for name, value in first.values.items()}
        return AggregateResult(
            update=values.pop("update"),
            accepted=torch.tensor(first.accepted, dtype=torch.bool),
            opened=list(first.opened),
            values=values,
            digests=dict(first.digests),
            cost=_cost([answer.cost for answer in answers]),
            seed=first.seed,
        )

    def close(self) -> None:
        """Let the nodes forget the session's state; nodes that are gone already have."""
        if self._backend.running:
            self._ask(CloseSession(self._number), Done)


def _wrong_share(rank: int, said: Evidence) -> WrongShare:
    delivery = Signature.from_bytes(said.delivery)
    return WrongShare(said.hospital, rank, said.digest, said.root, delivery)


def _refused(answers: Sequence[Statement] | Sequence[Combined]) -> dict[int, str]:
    """Reasons by hospital; where several nodes have one, the first node's."""
    return {h: why for answer in answers[::-1] for h, why in answer.refused.items()}


def _opened(answer: Combined) -> tuple[Any, ...]:
    """What all nodes must have opened alike, to the last bit."""
    values = [(name, v.dtype, v.shape, v.tobytes()) for name, v in answer.values.items()]
    return answer.accepted, answer.opened, answer.digests, answer.seed, values


def _cost(costs: Sequence[Cost]) -> Cost:
    # Node 0 alone waits for the dealer; the others' wait for node 0 would look like online time.
    return replace(
        costs[0],
        bytes_online=max(cost.bytes_online for cost in costs),
        bytes_offline=max(cost.bytes_offline for cost in costs),
        peak_mib=max(cost.peak_mib for cost in costs),
    )
