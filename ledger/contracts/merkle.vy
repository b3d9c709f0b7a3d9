# pragma version ~=0.4.3
"""
@title SHA-256 Merkle proofs
@license MIT
@notice The tree of `ledger/merkle.py`: leaf hash sha256(0x00 || leaf), inner hash
        sha256(0x01 || left || right), padded with zero words to a power of two.
"""

# Of a tree over 1,024 leaves.
MAX_DEPTH: constant(uint256) = 10


@internal
@view
def _root_from(
    leaf: bytes32, index: uint256, size: uint256, proof: DynArray[bytes32, MAX_DEPTH]
) -> bytes32:
    """
    @dev The root that `proof` leads to from position `index` of a tree over `size` leaves. Its
         length must be the tree's depth, so that no root holds two leaves at one position.
    """
    width: uint256 = 1 << len(proof)
    assert width >= size and width < 2 * size, "merkle: proof of another depth"
    node: bytes32 = sha256(concat(b"\x00", leaf))
    position: uint256 = index
    for sibling: bytes32 in proof:
        if position & 1 == 0:
            node = sha256(concat(b"\x01", node, sibling))
        else:
            node = sha256(concat(b"\x01", sibling, node))
        position >>= 1
    return node
