"""Signed commitments, and the one Merkle tree over all of a round's.

The tree holds, at position i, the Keccak hash of hospital i's signed commitment, as the contract
hashes it in `reveal_commitment`; positions of absent hospitals hold zero.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ledger.errors import require
from ledger.members.keys import Signature, keccak
from ledger.protocol.merkle import merkle_proof, merkle_root

ENTRY_BYTES = 128
ABSENT = bytes(32)


@dataclass(frozen=True)
class SignedCommitment:
    """A hospital's root (32 bytes) over its share digests, with its signature."""

    hospital: int
    root: bytes
    signature: Signature

    def words(self) -> tuple[int, bytes, bytes, int]:
        """The contract's struct."""
        return self.hospital, self.root, self.signature.r, self.signature.vs

    def as_bytes(self) -> bytes:
        """128 bytes: hospital, root, r, vs, as the contract encodes them."""
        return self.hospital.to_bytes(32, "big") + self.root + self.signature.as_bytes()

    @classmethod
    def from_bytes(cls, data: bytes) -> "SignedCommitment":
        """Inverse of `as_bytes`."""
        require(len(data) == ENTRY_BYTES, "commitment", f"{ENTRY_BYTES} bytes", len(data))
        return cls(int.from_bytes(data[:32], "big"), data[32:64], Signature.from_bytes(data[64:]))


def pack(commitments: Iterable[SignedCommitment]) -> bytes:
    """What travels with a posted root: the signed commitments, one after the other."""
    return b"".join(commitment.as_bytes() for commitment in commitments)


def unpack(data: bytes) -> list[SignedCommitment]:
    """Inverse of `pack`.

    Raises:
        ValueError: the length is no multiple of 128.
    """
    require(len(data) % ENTRY_BYTES == 0, "commitments", f"n * {ENTRY_BYTES} bytes", len(data))
    return [
        SignedCommitment.from_bytes(data[i : i + ENTRY_BYTES])
        for i in range(0, len(data), ENTRY_BYTES)
    ]


def posted_root(commitments: Iterable[SignedCommitment], hospitals: int) -> bytes:
    """Root of the tree over the commitments of a consortium of `hospitals`."""
    return merkle_root(_leaves(commitments, hospitals))


def posted_proof(
    commitments: Iterable[SignedCommitment], hospitals: int, hospital: int
) -> list[bytes]:
    """Proof that one hospital's commitment stands in that tree."""
    return merkle_proof(_leaves(commitments, hospitals), hospital)


def _leaves(commitments: Iterable[SignedCommitment], hospitals: int) -> Sequence[bytes]:
    leaves = [ABSENT] * hospitals
    for commitment in commitments:
        last = hospitals - 1
        require(0 <= commitment.hospital <= last, "hospital", f"0 to {last}", commitment.hospital)
        leaves[commitment.hospital] = keccak(commitment.as_bytes())
    return leaves
