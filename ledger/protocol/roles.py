"""What each role signs with its own key: nobody else's, and nothing but this.

Each of these objects holds one member's key and stands where that member does: at a hospital, at a
node, at a validator. What it returns is carried to the contract by somebody else.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Protocol

from ledger.errors import require
from ledger.members.keys import Signature
from ledger.protocol.commitments import SignedCommitment
from ledger.protocol.disputes import SignedOpened
from ledger.protocol.messages import Messages
from ledger.protocol.parameters import loss_to_fixed, to_fixed


class Signing(Protocol):
    """A key: one that is here, or one that another process holds and that refuses."""

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest."""


class SealsHead(Protocol):
    """Who signs the last block of an exported chain."""

    def head(self, number: int, block_hash: bytes) -> Signature:
        """The chain ends in this block."""


@dataclass(frozen=True)
class SignedAttestation:
    """A validator's measurements in units of 10**-18, with its signature."""

    validator: int
    accuracy: int
    loss: int
    f1: int
    signature: Signature

    def words(self) -> tuple[int, int, int, int, bytes, int]:
        """The contract's struct."""
        measured = (self.validator, self.accuracy, self.loss, self.f1)
        return *measured, self.signature.r, self.signature.vs


@dataclass(frozen=True, repr=False)
class _Role:
    """A member at its seat.

    Attributes:
        seat: its number on the chain.
        signer: its key.
        messages: digests to sign for one contract.
    """

    seat: int
    signer: Signing
    messages: Messages


class HospitalKey(_Role):
    """A hospital's key."""

    def commitment(self, round_number: int, model_hash: bytes, root: bytes) -> SignedCommitment:
        """In this round, starting from this model, my shares have this root."""
        digest = self.messages.commitment(round_number, model_hash, root)
        return SignedCommitment(self.seat, root, self.signer.sign(digest))

    def delivery(self, round_number: int, node: int, digest: bytes, root: bytes) -> Signature:
        """The share that I send this node has this digest and opens this root."""
        return self.signer.sign(self.messages.delivery(round_number, node, digest, root))


class NodeKey(_Role):
    """A computing node's key."""

    def opened(
        self, round_number: int, posted_root: bytes, hospitals: Collection[int]
    ) -> SignedOpened:
        """The shares that these hospitals sent me opened the roots signed with them."""
        digest = self.messages.opened(round_number, posted_root, hospitals)
        return SignedOpened(self.seat, tuple(hospitals), self.signer.sign(digest))

    def result(
        self,
        round_number: int,
        result: bytes,
        candidate: bytes,
        accepted: Sequence[int],
        rejected: Sequence[int],
    ) -> Signature:
        """This is the aggregate, this the model from it, these hospitals are in or out."""
        return self.signer.sign(
            self.messages.result(round_number, result, candidate, accepted, rejected)
        )


class ValidatorKey(_Role):
    """A validator's key."""

    def attestation(
        self, round_number: int, model_hash: bytes, accuracy: float, loss: float, f1: float
    ) -> SignedAttestation:
        """On this model I measured these values."""
        for name, value in (("accuracy", accuracy), ("f1", f1)):
            require(0 <= value <= 1, name, "in [0, 1]", value)
        fixed = (to_fixed(accuracy), loss_to_fixed(loss), to_fixed(f1))
        digest = self.messages.attestation(round_number, model_hash, *fixed)
        return SignedAttestation(self.seat, *fixed, self.signer.sign(digest))

    def head(self, number: int, block_hash: bytes) -> Signature:
        """The chain ends in this block."""
        return self.signer.sign(self.messages.head(number, block_hash))
