"""How nodes tell each other what is opened: committed first, then told, then compared.

A node that waited for the others' shares could choose its own so that the sum is what it likes:
flags that keep one hospital, say. So each binds itself by a hash before it hears anything:

    1. commit    SHA-256(step, rank, nonce, share)
    2. tell      nonce, share; a share that does not open its hash ends the node
    3. compare   SHA-256(step, rank, all nonces, value); another value at a peer ends the node

The rank is in the hash, so that nobody can repeat another's. What a node can still do is change
its share blindly: it shifts the value by what it chose before it knew the value.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np

from secure_fl.errors import NodeFailure
from secure_fl.mpc.prg import Nonces
from secure_fl.mpc.transport import Exchange

HASH_WORDS = 4
OVERHEAD_BYTES = 3 * 8 * HASH_WORDS
"""What a node sends to each peer beside its share: two hashes and a nonce."""


def add(mesh: Exchange, share: np.ndarray, nonces: Nonces) -> np.ndarray:
    """Return the sum of all nodes' shares, int64.

    Raises:
        NodeFailure: a peer tells another share than it committed to, or has another sum.
    """
    told, used = exchange(mesh, share, nonces)
    total = share + told[0]
    for theirs in told[1:]:
        total += theirs
    compare(mesh, total, used)
    return total


def xor(mesh: Exchange, public: np.ndarray, share: np.ndarray, nonces: Nonces) -> np.ndarray:
    """Return public words ^ the XOR of all nodes' shares, uint64.

    Raises:
        NodeFailure: a peer tells another share than it committed to, or has other words.
    """
    told, used = exchange(mesh, share, nonces)
    total = public ^ share
    for theirs in told:
        total ^= theirs
    compare(mesh, total, used)
    return total


def exchange(
    mesh: Exchange, share: np.ndarray, nonces: Nonces
) -> tuple[list[np.ndarray], np.ndarray]:
    """Commit, then tell: two rounds.

    Returns:
        The peers' shares in order of rank, and the nonces of all nodes.

    Raises:
        NodeFailure: a peer tells another share than it committed to.
    """
    nonce = np.frombuffer(nonces.draw(), np.uint64)
    mine = np.concatenate([nonce, np.ascontiguousarray(share).view(np.uint64).reshape(-1)])
    commitments = mesh.exchange(_hash(b"commit", mesh.rank, mine))
    told = mesh.exchange(mine)
    for peer, commitment, words in zip(_peers(mesh), commitments, told, strict=True):
        if not np.array_equal(_hash(b"commit", peer, words), commitment):
            raise NodeFailure(f"node {peer} told another share than it had committed to")
    used = [words[:HASH_WORDS] for words in told]
    used.insert(mesh.rank, nonce)
    shares = [words[HASH_WORDS:].view(share.dtype).reshape(share.shape) for words in told]
    return shares, np.concatenate(used)


def compare(mesh: Exchange, value: np.ndarray, nonces: np.ndarray) -> None:
    """Make sure that all nodes have opened the same: one round.

    Raises:
        NodeFailure: a peer opened something else.
    """
    words = np.ascontiguousarray(value).view(np.uint64).reshape(-1)
    told = mesh.exchange(_hash(b"compare", mesh.rank, nonces, words))
    for peer, said in zip(_peers(mesh), told, strict=True):
        if not np.array_equal(_hash(b"compare", peer, nonces, words), said):
            raise NodeFailure(f"node {peer} opened another value")


def _peers(mesh: Exchange) -> Sequence[int]:
    return [rank for rank in range(mesh.size) if rank != mesh.rank]


def _hash(step: bytes, rank: int, *words: np.ndarray) -> np.ndarray:
    digest = hashlib.sha256(b"secure_fl opening, " + step + bytes([rank]))
    for part in words:
        digest.update(part.tobytes())
    return np.frombuffer(digest.digest(), np.uint64)
