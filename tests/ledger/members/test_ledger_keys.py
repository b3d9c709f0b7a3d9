"""Keys, digests and transactions against eth-account, which shares no code with them."""

import subprocess
import sys

import pytest
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_utils import keccak as other_keccak

from ledger.chains.in_process import MAX_FEE, TRANSACTION_GAS, Transaction, sign_transaction
from ledger.members.keys import Signature, Signer, keccak, recover, simulation_key
from ledger.protocol.typed_data import NAME, VERSION, Domain, from_words, to_words

KEY = simulation_key(1, "hospital", 2)
DOMAIN = Domain(31337, bytes(range(20)))
FIELDS = {
    "Commitment": [("round", "uint256"), ("model", "bytes32"), ("sharesRoot", "bytes32")],
    "Result": [
        ("round", "uint256"),
        ("result", "bytes32"),
        ("candidate", "bytes32"),
        ("accepted", "uint256[4]"),
        ("rejected", "uint256[4]"),
    ],
    "Attestation": [
        ("round", "uint256"),
        ("model", "bytes32"),
        ("accuracy", "uint256"),
        ("loss", "uint256"),
        ("f1", "uint256"),
    ],
    "Delivery": [
        ("round", "uint256"),
        ("node", "uint256"),
        ("digest", "bytes32"),
        ("sharesRoot", "bytes32"),
    ],
    "Receipt": [
        ("round", "uint256"),
        ("hospital", "uint256"),
        ("digest", "bytes32"),
        ("sharesRoot", "bytes32"),
    ],
    "Opened": [("round", "uint256"), ("commitments", "bytes32"), ("opened", "uint256[4]")],
    "Register": [
        ("role", "uint256"),
        ("accounts", "address[]"),
        ("certificates", "bytes32[]"),
        ("nonce", "uint256"),
    ],
    "ReplaceKey": [
        ("role", "uint256"),
        ("index", "uint256"),
        ("account", "address"),
        ("certificate", "bytes32"),
        ("nonce", "uint256"),
    ],
    "Reinstate": [("hospital", "uint256"), ("nonce", "uint256")],
    "SetParameters": [
        ("rule", "uint256[8]"),
        ("limits", "uint256[4]"),
        ("timing", "uint256[3]"),
        ("nonce", "uint256"),
    ],
    "Head": [("blockNumber", "uint256"), ("blockHash", "bytes32")],
}
SAMPLES = {
    "uint256": 2**200 + 7,
    "bytes32": bytes(range(32)),
    "address": bytes(range(100, 120)),
    "uint256[3]": [1, 2, 2**32],
    "uint256[4]": [1, 2, 3, 2**255],
    "uint256[8]": list(range(8)),
    "address[]": [bytes(range(20)), bytes(range(1, 21))],
    "bytes32[]": [bytes(range(32)), bytes(32)],
}


@pytest.mark.parametrize("name", FIELDS)
def test_typed_data_digest_is_that_of_eth_account(name: str) -> None:
    values = [SAMPLES[kind] for _, kind in FIELDS[name]]
    message = encode_typed_data(
        {
            "name": NAME,
            "version": VERSION,
            "chainId": DOMAIN.chain_id,
            "verifyingContract": DOMAIN.contract,
        },
        {name: [{"name": field, "type": kind} for field, kind in FIELDS[name]]},
        {field: value for (field, _), value in zip(FIELDS[name], values, strict=True)},
    )
    theirs = other_keccak(b"\x19" + message.version + message.header + message.body)
    assert DOMAIN.digest(name, *values) == theirs  # type: ignore[arg-type]


def test_a_digest_is_bound_to_chain_and_contract() -> None:
    elsewhere = Domain(31338, DOMAIN.contract), Domain(DOMAIN.chain_id, bytes(20))
    digests = {domain.digest("Reinstate", 1, 2) for domain in (DOMAIN, *elsewhere)}
    assert len(digests) == 3


def test_address_and_signature_are_those_of_eth_account() -> None:
    account = Account.from_key(KEY.secret)
    assert bytes.fromhex(account.address[2:]) == KEY.address
    digest = keccak(b"anything")
    signature, theirs = KEY.sign(digest), account.unsafe_sign_hash(digest)
    assert int.from_bytes(signature.r, "big") == theirs.r
    assert (signature.s, 27 + signature.parity) == (theirs.s, theirs.v)
    assert recover(digest, signature) == KEY.address


def test_transaction_is_that_of_eth_account() -> None:
    raw = sign_transaction(Transaction("f", bytes(range(20)), b"data"), KEY, 5, 31337)
    theirs = Account.sign_transaction(
        {
            "type": 2,
            "chainId": 31337,
            "nonce": 5,
            "maxPriorityFeePerGas": 0,
            "maxFeePerGas": MAX_FEE,
            "gas": TRANSACTION_GAS,
            "to": bytes(range(20)),
            "value": 0,
            "data": b"data",
        },
        KEY.secret,
    )
    assert raw == bytes(theirs.raw_transaction)


def test_no_signature_recovers_to_nobody() -> None:
    digest = keccak(b"anything")
    good = KEY.sign(digest)
    # The malleable twin of a signature has s above 2**255: the compact form has no room for it.
    high = Signature(good.r, 2**255 - 1)
    for signature in (Signature(bytes(32), 0), Signature(b"\xff" * 32, good.vs), high):
        assert recover(digest, signature) is None
    assert recover(keccak(b"other"), good) != KEY.address
    assert Signature.from_bytes(good.as_bytes()) == good


def test_simulation_keys_differ_and_repeat() -> None:
    keys = {
        simulation_key(seed, role, index).secret
        for seed in (0, 1)
        for role in ("hospital", "node")
        for index in (0, 1)
    }
    assert len(keys) == 8
    code = "from ledger.members.keys import simulation_key as k;"
    code += "print(k(1, 'hospital', 2).address.hex())"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == KEY.address.hex()


def test_a_key_is_never_printed() -> None:
    assert KEY.secret.hex() not in repr(KEY)
    with pytest.raises(ValueError, match="secret must be 32 bytes; got 31"):
        Signer(bytes(31))
    with pytest.raises(ValueError, match="order of secp256k1; got 'a key'"):
        Signer(b"\xff" * 32)


def test_sets_of_hospitals_as_words() -> None:
    members = [0, 1, 255, 256, 700, 1023]
    assert from_words(to_words(members)) == members
    assert to_words([0, 257]) == (1, 2, 0, 0)
