"""SHA-256 commitments to shares: salted digests and the Merkle tree over them.

Only `hashlib` is needed, so computing nodes can check a share without any chain library.

The tree (also computed by ``contracts/merkle.vy``):

* leaf hash ``sha256(0x00 || leaf)``, inner hash ``sha256(0x01 || left || right)``: the prefixes
  keep an inner node from passing for a leaf (RFC 6962, section 2.1);
* the level of leaf hashes is padded with 32 zero bytes to a power of two. No input has that hash,
  so a padded tree is not the tree of any longer list.
"""

import hashlib
from collections.abc import Sequence

from ledger.errors import require

DIGEST_BYTES = 32
_PADDING = bytes(DIGEST_BYTES)
_SHARE_DOMAIN = b"secure-fl share v1\x00"


def share_digest(salt: bytes, share: bytes) -> bytes:
    """Digest of one share: ``sha256(domain || salt || share)``.

    The salt (32 random bytes, told to the share's node alone) hides a share that could be guessed.
    """
    _require_digest("salt", salt)
    return hashlib.sha256(_SHARE_DOMAIN + salt + share).digest()


def merkle_root(leaves: Sequence[bytes]) -> bytes:
    """Root over `leaves` (32 bytes each, at least one), in the order given."""
    return _levels(leaves)[-1][0]


def merkle_proof(leaves: Sequence[bytes], index: int) -> list[bytes]:
    """Siblings on the way from leaf `index` to the root, lowest first."""
    levels = _levels(leaves)
    require(0 <= index < len(leaves), "index", f"in 0..{len(leaves) - 1}", index)
    return [level[(index >> below) ^ 1] for below, level in enumerate(levels[:-1])]


def depth(size: int) -> int:
    """Length of every proof in a tree over `size` leaves: ceil(log2(size))."""
    require(size > 0, "size", "at least one leaf", size)
    return (size - 1).bit_length()


def verify(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> bool:
    """Whether `proof` leads from `leaf` at `index` of a tree over `size` leaves to `root`.

    A proof of another depth than that tree's is none, so that no root holds two leaves at one
    position.
    """
    if not 0 <= index < size or len(proof) != depth(size):
        return False
    if any(len(sibling) != DIGEST_BYTES for sibling in proof):
        return False
    _require_digest("leaf", leaf)
    node = _leaf_hash(leaf)
    for sibling in proof:
        node = _inner_hash(sibling, node) if index & 1 else _inner_hash(node, sibling)
        index >>= 1
    return node == root


def _levels(leaves: Sequence[bytes]) -> list[list[bytes]]:
    """All levels of the tree, padded leaf hashes first, the root last."""
    require(len(leaves) > 0, "leaves", "at least one", len(leaves))
    for leaf in leaves:
        _require_digest("leaf", leaf)
    width = 1 << depth(len(leaves))
    level = [_leaf_hash(leaf) for leaf in leaves] + [_PADDING] * (width - len(leaves))
    levels = [level]
    while len(level) > 1:
        level = [_inner_hash(a, b) for a, b in zip(level[::2], level[1::2], strict=True)]
        levels.append(level)
    return levels


def _leaf_hash(leaf: bytes) -> bytes:
    return hashlib.sha256(b"\x00" + leaf).digest()


def _inner_hash(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(b"\x01" + left + right).digest()


def _require_digest(name: str, value: bytes) -> None:
    require(len(value) == DIGEST_BYTES, name, f"{DIGEST_BYTES} bytes", len(value))
