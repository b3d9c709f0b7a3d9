"""EIP-712 digests of everything that members sign.

Independent of the contract's code: the types are stated here once more, and the contract accepts a
signature only if both sides agree on every byte.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from ledger.members.keys import keccak

NAME = "ConsortiumLedger"
VERSION = "1"
WORDS = 4  # words of 256 bits in a set of hospitals

_TYPES = {
    "EIP712Domain": "string name,string version,uint256 chainId,address verifyingContract",
    "Commitment": "uint256 round,bytes32 model,bytes32 sharesRoot",
    "Result": "uint256 round,bytes32 result,bytes32 candidate,"
    "uint256[4] accepted,uint256[4] rejected",
    "Attestation": "uint256 round,bytes32 model,uint256 accuracy,uint256 loss,uint256 f1",
    "Delivery": "uint256 round,uint256 node,bytes32 digest,bytes32 sharesRoot",
    "Receipt": "uint256 round,uint256 hospital,bytes32 digest,bytes32 sharesRoot",
    "Opened": "uint256 round,bytes32 commitments,uint256[4] opened",
    "Register": "uint256 role,address[] accounts,bytes32[] certificates,uint256 nonce",
    "ReplaceKey": "uint256 role,uint256 index,address account,bytes32 certificate,uint256 nonce",
    "Reinstate": "uint256 hospital,uint256 nonce",
    "SetParameters": "uint256[8] rule,uint256[4] limits,uint256[3] timing,uint256 nonce",
    "Head": "uint256 blockNumber,bytes32 blockHash",
}
_TYPE_HASHES = {name: keccak(f"{name}({body})".encode()) for name, body in _TYPES.items()}

Value = int | bytes | Sequence[int] | Sequence[bytes]


def struct_hash(type_name: str, *values: Value) -> bytes:
    """EIP-712 struct hash; ints are uint256, bytes are left-padded words, sequences are arrays."""
    return keccak(_TYPE_HASHES[type_name] + b"".join(_word(value) for value in values))


def _word(value: Value) -> bytes:
    """One 32-byte word; an array is the hash of its elements' words."""
    if isinstance(value, int):
        return value.to_bytes(32, "big")
    if isinstance(value, bytes):
        return value.rjust(32, b"\x00")
    return keccak(b"".join(_word(item) for item in value))


@dataclass(frozen=True)
class Domain:
    """The chain and the contract that signatures are bound to.

    Attributes:
        chain_id: EIP-155 chain id.
        contract: 20-byte address of the contract.
    """

    chain_id: int
    contract: bytes

    @property
    def separator(self) -> bytes:
        """EIP-712 domain separator."""
        return struct_hash(
            "EIP712Domain",
            keccak(NAME.encode()),
            keccak(VERSION.encode()),
            self.chain_id,
            self.contract,
        )

    def digest(self, type_name: str, *values: Value) -> bytes:
        """The 32 bytes to sign for a message of type `type_name`."""
        return keccak(b"\x19\x01" + self.separator + struct_hash(type_name, *values))


def to_words(members: Collection[int]) -> tuple[int, ...]:
    """A set of hospital numbers as `WORDS` words, bit i of word w standing for 256 w + i."""
    words = [0] * WORDS
    for member in members:
        words[member >> 8] |= 1 << (member & 255)
    return tuple(words)


def from_words(words: Sequence[int]) -> list[int]:
    """Inverse of `to_words`, ascending."""
    return [256 * w + i for w, word in enumerate(words) for i in range(256) if word >> i & 1]
