"""Keys and signatures on secp256k1, through coincurve."""

import hashlib
import secrets
from dataclasses import dataclass
from functools import cached_property

import coincurve
import sha3

from ledger.errors import require

# Order of secp256k1.
_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def keccak(data: bytes) -> bytes:
    """Keccak-256, the hash of Ethereum."""
    return bytes(sha3.keccak_256(data).digest())


@dataclass(frozen=True)
class Signature:
    """A recoverable signature in the compact form of EIP-2098: `vs` holds the parity on top."""

    r: bytes
    vs: int

    @property
    def parity(self) -> int:
        """0 or 1: which of the two points with this r."""
        return self.vs >> 255

    @property
    def s(self) -> int:
        """The second half of the signature."""
        return self.vs & (2**255 - 1)

    def as_bytes(self) -> bytes:
        """64 bytes: r, then vs."""
        return self.r + self.vs.to_bytes(32, "big")

    @classmethod
    def from_bytes(cls, data: bytes) -> "Signature":
        """Inverse of `as_bytes`."""
        require(len(data) == 64, "signature", "64 bytes", len(data))
        return cls(data[:32], int.from_bytes(data[32:], "big"))


@dataclass(frozen=True, repr=False)
class Signer:
    """A private key that signs digests; it is never printed."""

    secret: bytes

    def __post_init__(self) -> None:
        require(len(self.secret) == 32, "secret", "32 bytes", len(self.secret))
        number = int.from_bytes(self.secret, "big")
        require(0 < number < _ORDER, "secret", "between 1 and the order of secp256k1", "a key")

    @cached_property
    def _key(self) -> coincurve.PrivateKey:
        return coincurve.PrivateKey(self.secret)

    @cached_property
    def address(self) -> bytes:
        """The 20-byte address of the key."""
        return _address(self._key.public_key)

    def sign(self, digest: bytes) -> Signature:
        """Sign a 32-byte digest; deterministic (RFC 6979), low s."""
        require(len(digest) == 32, "digest", "32 bytes", len(digest))
        raw = self._key.sign_recoverable(digest, hasher=None)
        return Signature(raw[:32], int.from_bytes(raw[32:64], "big") | (raw[64] << 255))

    def __repr__(self) -> str:
        return f"Signer(0x{self.address.hex()})"


def fresh_key() -> Signer:
    """A new key from the operating system's random source."""
    return Signer((1 + secrets.randbelow(_ORDER - 1)).to_bytes(32, "big"))


def simulation_key(seed: int, role: str, index: int) -> Signer:
    """A key for simulated members: as secret as the seed. A public seed's keys protect nothing.

    The same seed, role and index give the same key on every machine, so that runs repeat exactly.
    """
    return _derived(f"secure-fl simulation key, not secret: {seed}/{role}/{index}".encode())


def deployer_key(salt: bytes) -> Signer:
    """The key that creates a contract on a chain in this process, and does nothing else: its
    address gives the contract one of its own, and so every salt its own EIP-712 domain."""
    return _derived(b"secure-fl deployer: " + salt)


def _derived(text: bytes) -> Signer:
    number = int.from_bytes(hashlib.sha256(text).digest(), "big") % (_ORDER - 1) + 1
    return Signer(number.to_bytes(32, "big"))


def recover(digest: bytes, signature: Signature) -> bytes | None:
    """Address that signed `digest`, or None if the signature is not one (high s included)."""
    r = int.from_bytes(signature.r, "big")
    if not (0 < r < _ORDER and 0 < signature.s <= _ORDER // 2):
        return None
    raw = signature.r + signature.s.to_bytes(32, "big") + bytes([signature.parity])
    try:
        return _address(coincurve.PublicKey.from_signature_and_message(raw, digest, hasher=None))
    except ValueError:
        return None


def _address(public: coincurve.PublicKey) -> bytes:
    return keccak(public.format(compressed=False)[1:])[12:]
