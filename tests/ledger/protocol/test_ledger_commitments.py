"""Signed commitments as bytes, and the tree over a round's."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.members.keys import Signature, keccak
from ledger.protocol.commitments import (
    ABSENT,
    SignedCommitment,
    pack,
    posted_proof,
    posted_root,
    unpack,
)
from ledger.protocol.merkle import merkle_root, verify

words = st.binary(min_size=32, max_size=32)
signatures = st.builds(Signature, words, st.integers(0, 2**256 - 1))
rounds = st.dictionaries(st.integers(0, 40), st.tuples(words, signatures), min_size=1).map(
    lambda held: [SignedCommitment(i, *rest) for i, rest in sorted(held.items())]
)


@given(rounds)
@settings(max_examples=50, deadline=None)
def test_bytes_come_back(commitments: list[SignedCommitment]) -> None:
    data = pack(commitments)
    assert len(data) == 128 * len(commitments)
    assert unpack(data) == commitments


@given(rounds, st.data())
@settings(max_examples=50, deadline=None)
def test_each_commitment_stands_at_its_hospital(
    commitments: list[SignedCommitment], data: st.DataObject
) -> None:
    held = {c.hospital: keccak(c.as_bytes()) for c in commitments}
    root = posted_root(commitments, 41)
    assert root == merkle_root([held.get(i, ABSENT) for i in range(41)])
    hospital = data.draw(st.sampled_from(range(41)))
    proof = posted_proof(commitments, 41, hospital)
    assert verify(held.get(hospital, ABSENT), hospital, 41, proof, root)
    assert not verify(keccak(b"another"), hospital, 41, proof, root)


def test_bad_input_is_named() -> None:
    commitment = SignedCommitment(3, bytes(32), Signature(bytes(32), 0))
    with pytest.raises(ValueError, match="hospital must be 0 to 2; got 3"):
        posted_root([commitment], 3)
    with pytest.raises(ValueError, match=r"commitments must be n \* 128 bytes; got 127"):
        unpack(commitment.as_bytes()[:-1])
    with pytest.raises(ValueError, match="commitment must be 128 bytes; got 0"):
        SignedCommitment.from_bytes(b"")
