"""A session on the nodes: the hospitals' side of it, which splits, commits, signs and sends."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import process_time
from typing import Any, NamedTuple, Protocol

import numpy as np
import torch

from ledger.members.keys import Signature
from ledger.protocol.disputes import DeniedShare, SignedOpened, WrongShare
from ledger.protocol.merkle import share_digest
from secure_fl.aggregation.pipeline import Pipeline
from secure_fl.backends.session import SALT_BYTES, HospitalSecrets, Session, Submission
from secure_fl.backends.statements import Findings, Signed, Ties
from secure_fl.errors import NodeFailure, SecureFLError
from secure_fl.faults import (
    SHORT_SHARE,
    UNSIGNED_SHARE,
    USELESS_PROOF,
    WITHHELD_SHARE,
    WRONG_SHARE,
    Fault,
)
from secure_fl.mpc.prg import KEY_BYTES, Stream
from secure_fl.nodes.shares import ShareMessage, commit, split
from secure_fl.types import AggregateResult, Cost, Opening


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
    ) -> list[tuple[dict[str, Any], bytearray]]:
        """Send one command to all nodes and return their answers."""

    def tell(self, rank: int, message: dict[str, Any], *payload: bytes) -> None:
        """Send one message to one node."""


class Sent(NamedTuple):
    """What a hospital keeps of a share that it sent.

    Attributes:
        digest: of the share with its salt.
        as_committed: whether it signed for the root that it committed to.
    """

    digest: bytes
    as_committed: bool


class MpcSession(Session):
    """A session on the nodes; here live the hospitals, who split and send.

    With `ties` hospitals sign what they deliver, nodes give receipts and sign what they attest.
    """

    def __init__(
        self,
        backend: Nodes,
        number: int,
        rule: Pipeline,
        hospitals: int,
        dim: int,
        hospital_secrets: HospitalSecrets,
        ties: Ties | None = None,
        faults: Sequence[Fault] = (),
    ) -> None:
        super().__init__(rule, hospitals, dim, hospital_secrets)
        self._backend = backend
        self._number = number
        self._ties = ties
        self._faults = {(f.round, f.hospital, f.node): f.kind for f in faults}
        # Of the round under way: shares sent and receipts for them, by (hospital, node).
        self._sent: dict[tuple[int, int], Sent] = {}
        self._receipts: dict[tuple[int, int], Signature] = {}
        self._checked = False
        self._cpu_ms = 0.0
        message = {
            "do": "open",
            "session": number,
            "rule": rule.to_config(),
            "hospitals": hospitals,
            "dim": dim,
            "ties": None if ties is None else _public(ties),
        }
        try:
            backend.ask(message)
        except SecureFLError:
            self.close()  # at nodes that did open it
            raise

    def _share(self, rows: dict[int, torch.Tensor]) -> tuple[dict[int, bytes], Any]:
        """Each hospital splits its update, commits, and sends every node its share."""
        self._sent, self._receipts, self._checked = {}, {}, False
        roots: dict[int, bytes] = {}
        nodes = self._backend.nodes
        for hospital, row in rows.items():
            label = f"{self._round} {hospital}"
            stream = Stream(self._secrets.draw(f"share {label}", KEY_BYTES))
            shares = split(row, self.rule.bits, nodes, stream)
            salts = [self._secrets.draw(f"salt {label} {i}", SALT_BYTES) for i in range(nodes)]
            cheats = [self._faults.get((self._round, hospital, i)) for i in range(nodes)]
            for rank in (i for i, cheat in enumerate(cheats) if cheat == SHORT_SHARE):
                shares[rank] = shares[rank][:-1]
            roots[hospital], messages = commit(shares, salts)
            if self._ties is not None:
                self._ties.promise(hospital, self._round, roots[hospital])
            for rank, message in enumerate(messages):
                root = roots[hospital]
                if cheats[rank] == WRONG_SHARE:
                    shares[rank] = shares[rank] ^ 1
                    root, others = commit(shares, salts)
                    message = others[rank]
                if cheats[rank] == USELESS_PROOF:
                    message = message._replace(proof=[bytes(32) for _ in message.proof])
                if cheats[rank] != WITHHELD_SHARE:
                    self._send(hospital, rank, message, root, cheats[rank])
        if self._ties is not None:
            self._collect_receipts()
        return roots, None

    def _send(
        self, hospital: int, rank: int, message: ShareMessage, root: bytes, cheat: str | None
    ) -> None:
        """Send a node its share, signed with the root that it opens, where there is a contract."""
        header = {
            "do": "share",
            "session": self._number,
            "hospital": hospital,
            "proof": [part.hex() for part in message.proof],
        }
        if self._ties is not None:
            start = process_time()
            digest = share_digest(message.salt, message.share)
            header["root"] = root.hex()
            if cheat != UNSIGNED_SHARE:
                said = self._ties.messages.delivery(self._round, rank, digest, root)
                signature = self._ties.hospitals[hospital].sign(said)
                header["delivery"] = signature.as_bytes().hex()
            honest = cheat not in (WRONG_SHARE, UNSIGNED_SHARE)
            self._sent[hospital, rank] = Sent(digest, honest)
            self._cpu_ms += 1000 * (process_time() - start)
        self._backend.tell(rank, header, message.salt, message.share)

    def _collect_receipts(self) -> None:
        """Hospitals keep what nodes sign for the shares that they received."""
        message = {"do": "receipts", "session": self._number, "round": self._round}
        for rank, (answer, _) in enumerate(self._backend.ask(message)):
            self._cpu_ms += answer["cpu_ms"]
            for hospital, receipt in answer["receipts"].items():
                self._receipts[int(hospital), rank] = _signature(receipt)

    def check_shares(
        self, commitments: Mapping[int, bytes], posted_root: bytes = bytes(32)
    ) -> Findings | None:
        """Let every node open the commitments and sign what it found, before anything else.

        Returns:
            What they said, and the evidence on both sides; None in a session without ties.
        """
        if self._ties is None:
            return None
        message = {
            "do": "check",
            "session": self._number,
            "round": self._round,
            "roots": _roots(commitments),
            "posted_root": posted_root.hex(),
        }
        answers = [answer for answer, _ in self._backend.ask(message)]
        self._checked = True
        opened = tuple(
            SignedOpened(rank, tuple(answer["opened"]), _signature(answer["signature"]))
            for rank, answer in enumerate(answers)
        )
        wrong_shares = tuple(
            _wrong_share(rank, piece)
            for rank, answer in enumerate(answers)
            for piece in answer["wrong_shares"]
        )
        spent = self._cpu_ms + sum(answer["cpu_ms"] for answer in answers)
        self._cpu_ms = 0.0
        denied = {
            hospital: f"node {said.node} says that the share did not open"
            for said in opened[::-1]
            for hospital in set(commitments) - set(said.hospitals)
        }
        return Findings(
            opened,
            wrong_shares,
            self._denials(commitments, opened),
            denied | _refused(answers),
            spent,
        )

    def _denials(
        self, commitments: Mapping[int, bytes], opened: Sequence[SignedOpened]
    ) -> tuple[DeniedShare, ...]:
        """What hospitals answer to nodes that say nothing opened, though they gave a receipt."""
        return tuple(
            DeniedShare(hospital, said.node, sent.digest, self._receipts[place])
            for said in opened
            for hospital in sorted(set(commitments) - set(said.hospitals))
            for place in [(hospital, said.node)]
            if place in self._receipts
            for sent in [self._sent[place]]
            if sent.as_committed
        )

    def sign_result(self, result_sha256: str, candidate_sha256: str) -> Signed | None:
        """Let every node sign the last aggregation's result and the model made from it.

        Returns:
            Their signatures; None in a session without ties.

        Raises:
            InputError: a node opened something else.
        """
        if self._ties is None:
            return None
        message = {
            "do": "sign",
            "session": self._number,
            "round": self._round,
            "result": result_sha256,
            "candidate": candidate_sha256,
        }
        answers = [answer for answer, _ in self._backend.ask(message)]
        return Signed(
            tuple(_signature(answer["signatures"][0]) for answer in answers),
            sum(answer["cpu_ms"] for answer in answers),
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
            The statements that no share opened in it, and the results; None without ties.

        Raises:
            InputError: the records say of a round what a node did not sign.
        """
        if self._ties is None:
            return None
        message = {
            "do": "sign",
            "session": self._number,
            "round": entry,
            "candidate": candidate_sha256,
        }
        answers = [answer for answer, _ in self._backend.ask(message, records)]
        pairs = [[_signature(text) for text in answer["signatures"]] for answer in answers]
        opened = tuple(SignedOpened(rank, (), pair[0]) for rank, pair in enumerate(pairs))
        spent = sum(answer["cpu_ms"] for answer in answers)
        return Findings(opened, (), (), {}, 0.0), Signed(tuple(pair[1] for pair in pairs), spent)

    def _aggregate(
        self,
        submission: Submission,
        reputation: torch.Tensor,
        samples: torch.Tensor,
        reference: torch.Tensor | None,
        commitments: dict[int, bytes],
        ruled: Sequence[tuple[int, int]],
    ) -> AggregateResult:
        if self._ties is not None and not self._checked:
            self.check_shares(commitments)
        message = {
            "do": "aggregate",
            "session": self._number,
            "round": self._round,
            "reputation": reputation.tolist(),
            "samples": samples.tolist(),
            "ruled": [list(place) for place in ruled],
        }
        if not self._checked:
            message["roots"] = _roots(commitments)
        payload = b"" if reference is None else reference.numpy().astype("<f8").tobytes()
        answers = self._backend.ask(message, payload)
        header, data = answers[0]
        for rank, (other, theirs) in enumerate(answers[1:], start=1):
            same = all(other[key] == header[key] for key in ("accepted", "opened", "digests"))
            if theirs != data or not same:
                raise NodeFailure(f"node {rank} opened other values than node 0")
        submission.refused.update(_refused([other for other, _ in answers]))
        values = _unpack(header["values"], data)
        return AggregateResult(
            update=values.pop("update"),
            accepted=torch.tensor(header["accepted"], dtype=torch.bool),
            opened=[Opening(name, tuple(shape), unit) for name, shape, unit in header["opened"]],
            values=values,
            digests=header["digests"],
            cost=_cost([other for other, _ in answers]),
        )

    def close(self) -> None:
        """Let the nodes forget the session's state; nodes that are gone already have."""
        if self._backend.running:
            self._backend.ask({"do": "close", "session": self._number})


def _public(ties: Ties) -> dict[str, Any]:
    """What nodes are told of the contract: no key."""
    return {
        "chain_id": ties.chain_id,
        "contract": ties.contract.hex(),
        "hospitals": [signer.address.hex() for signer in ties.hospitals],
    }


def _roots(commitments: Mapping[int, bytes]) -> dict[str, str]:
    return {str(hospital): root.hex() for hospital, root in sorted(commitments.items())}


def _signature(text: str) -> Signature:
    return Signature.from_bytes(bytes.fromhex(text))


def _wrong_share(rank: int, said: Mapping[str, Any]) -> WrongShare:
    return WrongShare(
        hospital=said["hospital"],
        node=rank,
        digest=bytes.fromhex(said["digest"]),
        root=bytes.fromhex(said["root"]),
        delivery=_signature(said["delivery"]),
    )


def _refused(answers: Sequence[Mapping[str, Any]]) -> dict[int, str]:
    """Reasons by hospital; where several nodes have one, the first node's."""
    return {int(h): why for answer in answers[::-1] for h, why in answer["refused"].items()}


def _unpack(layout: list[Any], data: bytearray) -> dict[str, torch.Tensor]:
    values, offset = {}, 0
    for name, dtype, shape in layout:
        count = int(np.prod(shape, dtype=np.int64))
        array = np.frombuffer(data, dtype, count, offset).reshape(shape)
        values[name] = torch.from_numpy(array.copy())
        offset += array.nbytes
    return values


def _cost(reports: list[dict[str, Any]]) -> Cost:
    # Node 0 alone waits for the dealer; the others' wait for node 0 would look like online time.
    first = reports[0]
    return Cost(
        seconds_online=first["seconds"] - first["seconds_offline"],
        seconds_offline=first["seconds_offline"],
        rounds=first["rounds"],
        bytes_online=max(report["bytes_online"] for report in reports),
        bytes_offline=max(report["bytes_offline"] for report in reports),
        peak_mib=max(report["peak_mib"] for report in reports),
    )
