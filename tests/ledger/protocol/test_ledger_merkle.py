"""Merkle commitments against a slow tree written from the definition."""

import hashlib
import subprocess
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.protocol.merkle import depth, merkle_proof, merkle_root, share_digest, verify

LEAVES = st.lists(st.binary(min_size=32, max_size=32), min_size=1, max_size=17)


def slow_root(leaves: list[bytes]) -> bytes:
    """Root by recursion on the halves of the padded list."""
    hashes = [hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves]
    while len(hashes) & (len(hashes) - 1):
        hashes.append(bytes(32))

    def fold(part: list[bytes]) -> bytes:
        if len(part) == 1:
            return part[0]
        half = len(part) // 2
        return hashlib.sha256(b"\x01" + fold(part[:half]) + fold(part[half:])).digest()

    return fold(hashes)


@given(LEAVES)
def test_root_is_the_slow_root(leaves: list[bytes]) -> None:
    assert merkle_root(leaves) == slow_root(leaves)


@given(LEAVES, st.data())
def test_proof_of_each_leaf_holds_and_no_other(leaves: list[bytes], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(leaves) - 1))
    root, proof = merkle_root(leaves), merkle_proof(leaves, index)
    assert verify(leaves[index], index, len(leaves), proof, root)
    forged = bytes([leaves[index][0] ^ 1]) + leaves[index][1:]
    assert not verify(forged, index, len(leaves), proof, root)
    assert not verify(leaves[index], index, len(leaves), proof, bytes(32))
    assert not verify(leaves[index], index + (1 << len(proof)), len(leaves), proof, root)
    assert not verify(leaves[index], -1, len(leaves), proof, root)
    assert not verify(leaves[index], index, len(leaves), [*proof, bytes(32)], root)
    if proof:
        assert not verify(leaves[index], index, len(leaves), proof[:-1], root)


def test_an_inner_node_is_no_leaf() -> None:
    leaves = [bytes([i]) * 32 for i in range(4)]
    left = hashlib.sha256(
        b"\x01" + b"".join(hashlib.sha256(b"\x00" + leaf).digest() for leaf in leaves[:2])
    ).digest()
    assert not verify(left, 0, len(leaves), merkle_proof(leaves, 0)[1:], merkle_root(leaves))


def test_a_root_holds_one_leaf_at_a_position() -> None:
    """A tree twice as deep would hold a second leaf at position 0 under the same root."""
    first, second = bytes([1]) * 32, bytes([2]) * 32
    deep = [second, bytes(32), bytes(32), bytes(32)]
    root, proof = merkle_root(deep), merkle_proof(deep, 0)
    assert verify(second, 0, 4, proof, root)
    assert not verify(second, 0, 2, proof, root)
    # For the size that a round has, whatever root is signed, one length of proof alone counts.
    assert [depth(size) for size in (1, 2, 3, 4, 5, 1024)] == [0, 1, 2, 2, 3, 10]
    assert verify(first, 0, 1, [], merkle_root([first]))
    assert not verify(first, 1, 1, [], merkle_root([first]))


def test_padding_is_not_a_longer_list() -> None:
    leaves = [bytes([i]) * 32 for i in range(3)]
    assert merkle_root(leaves) != merkle_root([*leaves, bytes(32)])


def test_share_digest_depends_on_salt_and_share() -> None:
    salt, other = bytes(32), bytes([1]) * 32
    expected = hashlib.sha256(b"secure-fl share v1\x00" + salt + b"share").digest()
    assert share_digest(salt, b"share") == expected
    assert len({share_digest(salt, b"share"), share_digest(other, b"share")}) == 2


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: share_digest(b"short", b""), "salt must be 32 bytes; got 5"),
        (lambda: merkle_root([]), "leaves must be at least one; got 0"),
        (lambda: merkle_root([b"x"]), "leaf must be 32 bytes; got 1"),
        (lambda: merkle_proof([bytes(32)], 1), r"index must be in 0\.\.0; got 1"),
    ],
)
def test_bad_input_is_named(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]


def test_hashing_needs_no_chain_library() -> None:
    code = (
        "import sys, ledger, ledger.protocol.merkle, ledger.protocol.reputation;"
        "bad = {'torch', 'crypten', 'web3', 'eth', 'eth_abi', 'coincurve'} & set(sys.modules);"
        "sys.exit(', '.join(sorted(bad)) or 0)"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
