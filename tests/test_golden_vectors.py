"""What is signed and hashed, byte for byte: a format cannot drift without a failure here.

Where the bytes fit on a line they are spelt out and hashed by the standard library alone; the rest
are values written down once (EIP-712 digests are compared with eth_account's elsewhere).
"""

from __future__ import annotations

import hashlib
import struct

import pytest
import torch

from ledger.members.keys import simulation_key
from ledger.protocol.commitments import SignedCommitment, posted_root
from ledger.protocol.merkle import merkle_root, share_digest
from ledger.protocol.messages import Messages
from ledger.protocol.typed_data import Domain
from secure_fl.nodes.result_hash import openings, result_hash, update_hash
from secure_fl.simulation.folder import model_bytes, records_content, records_digest
from secure_fl.types import AggregateResult, Opening
from tests.ledger.conftest import small_chain, story

A, B, C = (bytes([i]) * 32 for i in (0xAA, 0xBB, 0xCC))
MESSAGES = Messages(Domain(20_260, bytes(range(20))))
UPDATE = torch.tensor([0.5, -1.0, 2.0**-16], dtype=torch.float64)
UPDATE_BYTES = struct.pack("<3d", 0.5, -1.0, 2.0**-16)


def sha(*parts: bytes) -> bytes:
    return hashlib.sha256(b"".join(parts)).digest()


def test_a_shares_digest() -> None:
    assert share_digest(A, b"share") == sha(b"secure-fl share v1\x00", A, b"share")


def test_a_root_of_three() -> None:
    leaves = [sha(b"\x00", leaf) for leaf in (A, B, C)]
    left, right = sha(b"\x01", *leaves[:2]), sha(b"\x01", leaves[2], bytes(32))
    assert merkle_root([A, B, C]) == sha(b"\x01", left, right)


def test_an_updates_hash() -> None:
    assert update_hash(UPDATE) == sha(UPDATE_BYTES).hex()


def test_a_models_file() -> None:
    head = b"\x93NUMPY\x01\x00v\x00{'descr': '<f4', 'fortran_order': False, 'shape': (2,), }"
    head += b" " * (127 - len(head)) + b"\n"
    assert model_bytes(torch.tensor([1.5, -2.0])) == head + struct.pack("<2f", 1.5, -2.0)


def test_a_rounds_openings_and_result() -> None:
    flags = torch.tensor([1.0, 0.0])
    opened = [Opening("accepted", (2,), 1.0), Opening("update", (3,), 2.0**-16)]
    result = AggregateResult(UPDATE, torch.tensor([True, False]), opened, {"accepted": flags})
    rows = openings(7, result)
    flags_hash, update = sha(struct.pack("<2d", 1, 0)).hex(), sha(UPDATE_BYTES).hex()
    text = (
        '{"accepted":[true,false,null],"openings":['
        f'{{"name":"accepted","round":7,"sha256":"{flags_hash}","shape":[2],"unit":1.0,'
        '"value":[1.0,0.0]},'
        f'{{"name":"update","round":7,"sha256":"{update}","shape":[3],"unit":1.52587890625e-05,'
        '"value":[0.5,-1.0,1.52587890625e-05]}'
        f'],"round":7,"update_sha256":"{update}"}}'
    )
    assert (
        result_hash(7, [True, False, None], rows, update_hash(UPDATE)) == sha(text.encode()).hex()
    )


def test_a_cells_records() -> None:
    rows = [{"round": 1, "seconds": 3.5, "ledger_ms": 2.0, "accuracy": 0.5, "loss": None}]
    text = '[[{"accuracy":0.5,"loss":null,"round":1}],[{"name":"update"}]]'
    assert records_content(rows, [{"name": "update"}]) == text.encode()
    assert records_digest(rows, [{"name": "update"}]) == sha(text.encode()).hex()


SIGNED = {
    "commitment": (3, A, B),
    "result": (3, A, B, [0, 300], [1]),
    "attestation": (3, A, 10**17, 10**18, 0),
    "delivery": (3, 1, A, B),
    "receipt": (3, 5, A, B),
    "opened": (3, C, [0, 2, 1023]),
    "register": (2, [bytes(20), b"\x01" * 20], [A, B], 4),
    "replace_key": (2, 1, b"\x01" * 20, A, 4),
    "reinstate": (5, 4),
    "set_parameters": (list(range(8)), list(range(4)), [1, 2, 3], 4),
    "head": (99, A),
}
DIGESTS = {
    "commitment": "af0826ebe5287537a5056123e67eb2d1367823df5daf8487256ecb142bd8d1ac",
    "result": "db8610f28020829474faa4c3fd84ec82d8f4d4ab356a70ff274e49ea9ff8b666",
    "attestation": "b7ca0825d0b7418db0491fbad16938b59e0ca6f9464aeb746866b0e546ac0ce9",
    "delivery": "a7a6ae1a3207ec2b7ee10cb1104d610d62dee98fe3cf82d3dd6b88645aed3f1a",
    "receipt": "1cd653a7b0677e02a5f85cf7ef883d8e5a6a32a0cd74aea2784cb91fd2167782",
    "opened": "fd576f4df55386fda2596b42a708021164da081b8b50bd3bc20ad0deccf79e9b",
    "register": "d936f983deb6735adc3f07c80d1788b84d74b07149f4553e348f3a4723d78502",
    "replace_key": "669ad96adca3991b70e60dc637930d98f0ff8cade29480455bd0d5c5c07f0cbd",
    "reinstate": "6d6f53f126a8d02888cfdd32d5eeb8a09e311d26edc8119fd6ee3c7c14f7fee0",
    "set_parameters": "55ce9ee2f39b917965d1f12d7d499cfea8ee6c30f00ead040d27ea228ea1fd34",
    "head": "051501a1ccb4ee75d52447c72a386e3705a7c1ca41247337d31c81caa673dbc1",
}


@pytest.mark.parametrize("name", SIGNED)
def test_what_members_sign(name: str) -> None:
    assert getattr(MESSAGES, name)(*SIGNED[name]).hex() == DIGESTS[name]


def test_every_message_is_pinned() -> None:
    public = {name for name in vars(Messages) if not name.startswith("_")} - {"domain"}
    assert set(SIGNED) == set(DIGESTS) == public


HEADS = {
    "each": "e411186770ca01cda2cfe12d0a514c3aae4174c397cc6166a7e9a9a69ed2587b",
    "merkle": "932df35219831aa2b5eba7007d2e9fd499355def9bcc27cd3715a249d9cd97bc",
}


@pytest.mark.parametrize("mode", HEADS)
def test_a_chains_head(mode: str) -> None:
    """Who signs what, and in which order all is sent: rounds of every ending, in both modes."""
    client = small_chain(mode=mode)
    story(client)
    assert client.head_hash.hex() == HEADS[mode]


def test_a_posted_root() -> None:
    key = simulation_key(1, "hospital", 0)
    signed = SignedCommitment(1, A, key.sign(B))
    root = "ba6ae8bcde1903b0236291b8496f64443f742fcab7a14f02074ccd5e92d04640"
    assert posted_root([signed], 3).hex() == root
