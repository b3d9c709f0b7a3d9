"""The hospital's side: encode, split into one share a node, commit.

Only this module sees an update in the clear, in the hospital's own process. (The paper shares over
a prime field; CrypTen's ring Z_2^64 and, for bounded rules, Z_2^b take its place.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch

from ledger.protocol.merkle import merkle_proof, merkle_root, share_digest, verify
from secure_fl.aggregation.worlds.fixedpoint import encode
from secure_fl.errors import InputError
from secure_fl.mpc.prg import Stream

SALT_BYTES = 32


class ShareMessage(NamedTuple):
    """What a hospital sends to one node."""

    salt: bytes
    share: bytes
    proof: list[bytes]


def _dtype(bits: int) -> str:
    return "<u4" if bits <= 32 else "<u8"


def split(row: torch.Tensor, bits: int, nodes: int, stream: Stream) -> list[np.ndarray]:
    """Return additive shares modulo 2^bits of an encoded update (d,), one a node.

    All but the last come from the stream; each alone, and any nodes - 1 together, are uniform.
    """
    mask = np.uint64((1 << bits) - 1)
    value = encode(row).numpy().view(np.uint64)
    shares = [stream.words(value.shape) for _ in range(nodes - 1)]
    last = value.copy()
    for share in shares:
        last -= share
    return [(share & mask).astype(_dtype(bits)) for share in [*shares, last]]


def commit(
    shares: Sequence[np.ndarray], salts: Sequence[bytes]
) -> tuple[bytes, list[ShareMessage]]:
    """Return the Merkle root over the salted digests of the shares, and a message for each node."""
    payloads = [share.tobytes() for share in shares]
    leaves = [share_digest(s, p) for s, p in zip(salts, payloads, strict=True)]
    messages = [
        ShareMessage(salt, payload, merkle_proof(leaves, i))
        for i, (salt, payload) in enumerate(zip(salts, payloads, strict=True))
    ]
    return merkle_root(leaves), messages


def check(
    message: ShareMessage, root: bytes, rank: int, nodes: int, bits: int, dim: int
) -> np.ndarray:
    """Return a share as int64 (d,) after checking that it opens its commitment.

    Raises:
        InputError: wrong length, or the digest and proof do not lead to the committed root.
    """
    size = dim * np.dtype(_dtype(bits)).itemsize
    if len(message.share) != size:
        raise InputError(f"a share must be {size} bytes; got {len(message.share)}")
    leaf = share_digest(message.salt, message.share)
    if not verify(leaf, rank, nodes, message.proof, root):
        raise InputError("the share does not open its commitment")
    values = np.frombuffer(message.share, _dtype(bits)).astype(np.uint64)
    # Bits above the width are not part of the value, whatever a hospital puts there.
    return (values & np.uint64((1 << bits) - 1)).view(np.int64)
