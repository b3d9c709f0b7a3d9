"""What binds a session to a contract, and what nodes say to it, signed in their own processes."""

from __future__ import annotations

from dataclasses import dataclass, field

from ledger.members.keys import Signature, Signer
from ledger.protocol.disputes import DeniedShare, SignedOpened, WrongShare
from ledger.protocol.messages import Messages
from ledger.protocol.typed_data import Domain
from secure_fl.errors import InputError


@dataclass(frozen=True)
class Ties:
    """The contract that a session's members sign for.

    Attributes:
        chain_id: EIP-155 chain id.
        contract: 20-byte address.
        hospitals: keys of the hospitals, whose side the session plays.
        promised: the root that each of them signed in each round.
    """

    chain_id: int
    contract: bytes
    hospitals: tuple[Signer, ...]
    promised: dict[tuple[int, int], bytes] = field(default_factory=dict, compare=False, repr=False)

    def promise(self, hospital: int, number: int, root: bytes) -> None:
        """Before a hospital signs a root: it signs one a round, since two are evidence against it.

        Raises:
            InputError: it has signed another.
        """
        if self.promised.setdefault((hospital, number), root) != root:
            raise InputError(f"hospital {hospital} has signed another root for round {number}")

    @property
    def messages(self) -> Messages:
        """Digests that members sign for this contract."""
        return Messages(Domain(self.chain_id, self.contract))


@dataclass(frozen=True)
class Findings:
    """What the nodes said of a round's shares, and what the hospitals answer.

    Attributes:
        opened: every node's signed statement, in order of rank.
        wrong_shares: evidence of shares delivered under other roots than those committed to.
        denials: hospitals' evidence of receipts for shares that a node says did not open.
        refused: why a hospital's share was not taken, by hospital, in words.
        cpu_ms: CPU milliseconds that hospitals and nodes spent on signing and checking.
    """

    opened: tuple[SignedOpened, ...]
    wrong_shares: tuple[WrongShare, ...]
    denials: tuple[DeniedShare, ...]
    refused: dict[int, str]
    cpu_ms: float


@dataclass(frozen=True)
class Signed:
    """Every node's signature on one statement, in order of rank, and what signing cost."""

    signatures: tuple[Signature, ...]
    cpu_ms: float
