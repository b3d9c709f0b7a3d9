"""A share as a hospital sends it to one node, and how the node holds it to its commitment."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from ledger.protocol.merkle import share_digest, verify
from secure_fl.errors import InputError

SALT_BYTES = 32


class ShareMessage(NamedTuple):
    """What a hospital sends to one node."""

    salt: bytes
    share: bytes
    proof: list[bytes]


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
