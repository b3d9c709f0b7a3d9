"""A share as a hospital sends it to one node, and how the node holds it to its commitment."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

from ledger.protocol.merkle import share_digest, verify
from secure_fl.errors import InputError

SALT_BYTES = 32


class ShareMessage(NamedTuple):
    """What a hospital sends to one node."""

    salt: bytes
    share: bytes
    proof: list[bytes]


class Delivery(NamedTuple):
    """What a hospital sends to one node, and what it is held to.

    Attributes:
        message: salt, share and Merkle proof.
        root: that the share opens, as the hospital says; empty where nothing is signed.
        signature: the hospital's, on the share's digest and the root, 64 bytes; empty as `root` is.
    """

    message: ShareMessage
    root: bytes = b""
    signature: bytes = b""

    def write(self, session: int, hospital: int) -> tuple[dict[str, Any], bytes, bytes]:
        """Header and payloads of the message that brings it."""
        header = {
            "do": "share",
            "session": session,
            "hospital": hospital,
            "proof": [part.hex() for part in self.message.proof],
            "root": self.root.hex(),
            "delivery": self.signature.hex(),
        }
        return header, self.message.salt, self.message.share

    @classmethod
    def read(cls, header: Mapping[str, Any], payload: bytes | bytearray) -> Delivery:
        """As it came; what is malformed in it comes out empty, and proves nothing."""
        proof = header.get("proof")
        parts = [_bytes(part) for part in proof] if isinstance(proof, list) else []
        salt, share = bytes(payload[:SALT_BYTES]), bytes(payload[SALT_BYTES:])
        message = ShareMessage(salt, share, parts)
        return cls(message, _bytes(header.get("root")), _bytes(header.get("delivery")))


def _bytes(text: Any) -> bytes:
    """Bytes from hexadecimal; none from anything else."""
    try:
        return bytes.fromhex(text) if isinstance(text, str) else b""
    except ValueError:
        return b""


def share_type(bits: int) -> str:
    """NumPy's type of the words that shares of b bits are sent in."""
    return "<u4" if bits <= 32 else "<u8"


def check(
    message: ShareMessage, root: bytes, rank: int, nodes: int, bits: int, dim: int
) -> np.ndarray:
    """Return a share as int64 (d,) after checking that it opens its commitment.

    Raises:
        InputError: wrong length, or the digest and proof do not lead to the committed root.
    """
    size = dim * np.dtype(share_type(bits)).itemsize
    if len(message.share) != size:
        raise InputError(f"a share must be {size} bytes; got {len(message.share)}")
    leaf = share_digest(message.salt, message.share)
    if not verify(leaf, rank, nodes, message.proof, root):
        raise InputError("the share does not open its commitment")
    values = np.frombuffer(message.share, share_type(bits)).astype(np.uint64)
    # Bits above the width are not part of the value, whatever a hospital puts there.
    return (values & np.uint64((1 << bits) - 1)).view(np.int64)
