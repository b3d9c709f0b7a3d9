# pragma version ~=0.4.3
"""
@title SHA-256 Merkle proofs
@license MIT
@notice The tree of `ledger/merkle.py`: leaf hash sha256(0x00 || leaf), inner hash
        sha256(0x01 || left || right), padded with zero words to a power of two.
"""

MAX_DEPTH: constant(uint256) = 16


@internal
@view
def _root_from(leaf: bytes32, index: uint256, proof: DynArray[bytes32, MAX_DEPTH]) -> bytes32:
    """
    @dev The root that `proof` leads to; reverts when `index` lies outside the tree.
    """
    assert index >> len(proof) == 0, "merkle: index outside the tree"
    node: bytes32 = sha256(concat(b"\x00", leaf))
    position: uint256 = index
    for sibling: bytes32 in proof:
        if position & 1 == 0:
            node = sha256(concat(b"\x01", node, sibling))
        else:
            node = sha256(concat(b"\x01", sibling, node))
        position >>= 1
    return node
