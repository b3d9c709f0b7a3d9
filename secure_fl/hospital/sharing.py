"""Encode an update, split it into one share a node, commit to the shares.

Only this module sees an update in the clear, in the hospital's own process. (The paper shares over
a prime field; CrypTen's ring Z_2^64 and, for bounded rules, Z_2^b take its place.)
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from ledger.protocol.merkle import merkle_proof, merkle_root, share_digest
from secure_fl.aggregation.openings import UNIT
from secure_fl.aggregation.ranges import ROUNDING_SHARE
from secure_fl.aggregation.worlds.fixedpoint import encode
from secure_fl.mpc.prg import Stream
from secure_fl.nodes.shares import ShareMessage, share_type


def all_within(x: torch.Tensor, limit: float) -> bool:
    """Whether no update of (n, d) is refused by `refusal`, in one pass."""
    least, most = (float(end) for end in x.aminmax())
    return least > 2.0**-17 - limit and most < limit - 2.0**-17  # false of NaN


def refusal(row: torch.Tensor, limit: float) -> str | None:
    """Return why an update (d,) cannot be encoded, or None if it can.

    The reason is recorded where others read it: it names the rule, and neither a coordinate nor its
    value.
    """
    if not bool(row.isfinite().all()):
        return "every coordinate must be a finite number"
    if float(row.abs().max()) >= limit - 2.0**-17:
        return f"every coordinate must be in (-{limit:g}, {limit:g})"
    return None


def lost_to_rounding(row: torch.Tensor) -> str | None:
    """Return why an update (d,) does not survive rounding to integers, or None if it does."""
    steps = row.to(torch.float64) / UNIT
    largest = float(steps.abs().max())
    if largest == 0:
        return None
    length = largest * float((steps / largest).norm())  # of subnormal numbers too
    if length > len(steps) ** 0.5 / (2 * ROUNDING_SHARE):
        return None  # each coordinate moves by half a step at most
    change = float((steps - steps.round()).norm()) if largest >= 0.5 else length
    if change <= ROUNDING_SHARE * length:
        return None
    return (
        f"rounding to steps of 2^-16 must change it by at most {ROUNDING_SHARE:.0%} of its length: "
        "scale updates up, or raise the norm they are clipped to"
    )


def split(row: torch.Tensor, bits: int, nodes: int, stream: Stream) -> list[np.ndarray]:
    """Return additive shares modulo 2^bits of an encoded update (d,), one a node."""
    return split_integers(encode(row), bits, nodes, stream)


def split_integers(
    integers: torch.Tensor, bits: int, nodes: int, stream: Stream
) -> list[np.ndarray]:
    """Return additive shares modulo 2^bits of integers, int64 (d,), one a node.

    All but the last come from the stream; each alone, and any nodes - 1 together, are uniform.
    """
    mask = np.uint64((1 << bits) - 1)
    value = integers.numpy().view(np.uint64)
    shares = [stream.words(value.shape) for _ in range(nodes - 1)]
    last = value.copy()
    for share in shares:
        last -= share
    return [(share & mask).astype(share_type(bits)) for share in [*shares, last]]


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
