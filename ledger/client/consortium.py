"""A whole consortium in one process: a client, and beside it every member with its own key.

For simulations, tests and notebooks. In a deployment each member signs where it stands, with the
keys of `ledger.protocol.roles`, and a `LedgerClient` carries.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path

from ledger.chains.in_process import Chain
from ledger.client.administration import Administration
from ledger.client.client import EACH, LedgerClient, require_hash
from ledger.client.connection import Connection
from ledger.client.outcome import RoundOutcome
from ledger.errors import require
from ledger.members.keys import Signature, Signer
from ledger.members.members import HOSPITAL, NODE, VALIDATOR, Members
from ledger.protocol.commitments import SignedCommitment
from ledger.protocol.disputes import SignedOpened
from ledger.protocol.messages import verdicts
from ledger.protocol.parameters import Parameters
from ledger.protocol.roles import (
    HospitalKey,
    NodeKey,
    SealsHead,
    SignedAttestation,
    ValidatorKey,
)


class Consortium(LedgerClient):
    """A client with all members at its side, each of whom signs for itself when asked.

    Attributes:
        members: their keys.
        administration: changes that need a quorum of administrators.
    """

    def __init__(self, connection: Connection, members: Members, mode: str = EACH) -> None:
        super().__init__(connection, members.roster, mode)
        self.members = members
        self.administration = Administration(
            connection, members.administrators[: members.threshold]
        )

    @classmethod
    def found(
        cls,
        chain: Chain,
        members: Members,
        parameters: Parameters,
        mode: str = EACH,
        deployer: Signer | None = None,
    ) -> "Consortium":
        """Create the contract on a chain, with a key that pays, and register all members."""
        require(
            parameters.quorum <= len(members.validators),
            "quorum",
            f"at most the {len(members.validators)} validators",
            parameters.quorum,
        )
        made = cls(Connection.deploy(chain, members, parameters, deployer), members, mode)
        made.register_all()
        return made

    def carrier(self) -> LedgerClient:
        """A client of the same contract with no key but the coordinator's."""
        return LedgerClient(self.connection, self.roster, self.mode)

    def register_all(self) -> None:
        """Register those hospitals, nodes and validators that have no seat yet."""
        for role in (HOSPITAL, NODE, VALIDATOR):
            seated = int(self.connection.read("count", role))
            keys = self.roster.of_role(role)
            if keys[seated:]:
                self.administration.register(role, keys[seated:])

    # ---- what members sign ----

    def hospital(self, seat: int, signer: Signer | None = None) -> HospitalKey:
        """A hospital; with another key than its own if one is given."""
        return HospitalKey(seat, signer or self.members.hospitals[seat], self.connection.messages)

    @property
    def nodes(self) -> list[NodeKey]:
        """The nodes, in order of seat."""
        messages = self.connection.messages
        return [NodeKey(seat, key, messages) for seat, key in enumerate(self.members.nodes)]

    def validator(self, seat: int, signer: Signer | None = None) -> ValidatorKey:
        """A validator; with another key than its own if one is given."""
        own = signer or self.members.validators[seat]
        return ValidatorKey(seat, own, self.connection.messages)

    def sign_commitment(
        self,
        hospital: int,
        round_number: int,
        model_hash: bytes,
        root: bytes,
        signer: Signer | None = None,
    ) -> SignedCommitment:
        """What a hospital does by itself: sign its root for this round and model."""
        return self.hospital(hospital, signer).commitment(round_number, model_hash, root)

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
        key = self.validator(validator, signer)
        return key.attestation(round_number, model_hash, accuracy, loss, f1)

    # ---- a round, in which all of them are asked ----

    def attest_initial(
        self, model_hash: bytes, metrics: Sequence[tuple[float, float, float] | None]
    ) -> RoundOutcome:
        """Before the first round: let validators attest the initial model, as its baseline."""
        self.connection.send([("propose_initial", (model_hash,))])
        self.attest(0, metrics, model_hash)
        return self.finalize(0)

    def commit(self, round_number: int, roots: Mapping[int, bytes]) -> dict[int, str]:
        """Let each hospital sign its root for this round, and close the commitments.

        Returns:
            See `close_commitments`.
        """
        for hospital, root in roots.items():
            self._require_hospital(hospital)
            require_hash(f"root of hospital {hospital}", root)
        with self._timed("commit"):
            model = self.model_hash
            signed = [
                self.sign_commitment(hospital, round_number, model, root)
                for hospital, root in roots.items()
            ]
        return self.close_commitments(round_number, signed)

    def attest_shares(
        self,
        round_number: int,
        opened: Sequence[Collection[int]] | Sequence[SignedOpened] | None = None,
    ) -> None:
        """Let nodes state whose shares opened, and record it; see `LedgerClient.attest_shares`.

        Args:
            round_number: the round.
            opened: hospitals by node, to be signed; or what nodes have signed; if not given, all
                who committed, at every node.
        """
        with self._timed("attest_shares"):
            self._end_claims()
            signed = self.statements(round_number, opened)
        super().attest_shares(round_number, signed)

    def record_aggregate(
        self,
        round_number: int,
        result_hash: bytes,
        accepted: Sequence[bool | None] | Mapping[int, bool],
        model_hash: bytes | None = None,
        signatures: Sequence[Signature] | None = None,
        opened: Sequence[SignedOpened] = (),
    ) -> None:
        """Let nodes sign the result, and record it; see `LedgerClient.record_aggregate`.

        Unless `attest_shares` was called in this round, the nodes attest in the same block that
        the shares of all who committed opened.

        Args:
            round_number, result_hash, accepted, opened: see there.
            model_hash: hash of the new global model; `result_hash` if not given.
            signatures: of the nodes, if they have signed.
        """
        candidate = result_hash if model_hash is None else model_hash
        with self._timed("record_aggregate"):
            if signatures is None:
                require_hash("result_hash", result_hash)
                require_hash("model_hash", candidate)
                said = (result_hash, candidate, *verdicts(accepted))
                signatures = [node.result(round_number, *said) for node in self.nodes]
            if not (opened or self._denials or self.connection.read("heard")):
                self._end_claims()
                opened = self.statements(round_number, None)
        super().record_aggregate(round_number, result_hash, accepted, candidate, signatures, opened)

    def attest(
        self,
        round_number: int,
        metrics: Sequence[tuple[float, float, float] | None],
        model_hash: bytes,
    ) -> None:
        """Record each validator's (accuracy, loss, F1) on the model, signed by it; None: silent."""
        limit = len(self.members.validators)
        require(len(metrics) <= limit, "metrics", f"at most {limit} validators'", len(metrics))
        require_hash("model_hash", model_hash)
        with self._timed("attest"):
            signed = [
                self.sign_attestation(validator, round_number, model_hash, *measured)
                for validator, measured in enumerate(metrics)
                if measured is not None
            ]
        self.submit_attestations(round_number, signed)

    def export(self, path: str | Path, validators: Sequence[SealsHead] | None = None) -> bytes:
        """Write the chain, its head signed by the validators; see `LedgerClient.export`."""
        if validators is None:
            validators = [self.validator(seat) for seat in range(len(self.members.validators))]
        return super().export(path, validators)

    def statements(
        self,
        round_number: int,
        opened: Sequence[Collection[int]] | Sequence[SignedOpened] | None = None,
    ) -> list[SignedOpened]:
        """Every node's statement whose shares opened, signed unless it is already.

        Args:
            round_number, opened: see `attest_shares`.
        """
        nodes = self.nodes
        sets: Sequence[Collection[int] | SignedOpened]
        sets = [self.committed()] * len(nodes) if opened is None else opened
        require(len(sets) == len(nodes), "opened", f"{len(nodes)} nodes' sets", len(sets))
        root = self.posted_root()
        return [
            said if isinstance(said, SignedOpened) else node.opened(round_number, root, said)
            for node, said in zip(nodes, sets, strict=True)
        ]
