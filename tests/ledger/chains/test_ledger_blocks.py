"""A node's answers as the bytes that chains hash, against py-evm, eth-account and eth-bloom."""

import secrets
from typing import Any

import pytest
import rlp
from eth.db.trie import make_trie_root_and_nodes
from eth.rlp.logs import Log as EthLog
from eth.rlp.receipts import Receipt as EthReceipt
from eth.vm.forks.cancun.headers import CancunBlockHeader
from eth.vm.forks.frontier.blocks import BlockHeader
from eth.vm.forks.london.blocks import LondonBlockHeader
from eth.vm.forks.prague.headers import PragueBlockHeader
from eth.vm.forks.shanghai.blocks import ShanghaiBlockHeader
from eth_account import Account
from eth_account.datastructures import SignedTransaction
from eth_bloom import BloomFilter
from eth_utils import to_checksum_address
from hypothesis import assume, given
from hypothesis import strategies as st

from ledger.chains import blocks
from ledger.errors import LedgerError
from ledger.members.keys import Signer, keccak
from ledger.protocol.contract import Log

KEY = Signer(bytes([3] * 32))
OTHER = bytes([0xA5] * 20)
ACCOUNT = Account.from_key(KEY.secret)


def hexed(data: bytes) -> str:
    return "0x" + data.hex()


# ---- headers ----

FIRST: dict[str, Any] = {
    "parent_hash": bytes([1] * 32),
    "uncles_hash": bytes([2] * 32),
    "coinbase": bytes([3] * 20),
    "state_root": bytes([4] * 32),
    "transaction_root": bytes([5] * 32),
    "receipt_root": bytes([6] * 32),
    "bloom": 1 << 700,
    "difficulty": 0,
    "block_number": 19_000_000,
    "gas_limit": 30_000_000,
    "gas_used": 12_345_678,
    "timestamp": 1_700_000_000,
    "extra_data": b"made by a test",
    "mix_hash": bytes([7] * 32),
    "nonce": bytes(8),
}
LATER: list[tuple[str, str, Any]] = [
    ("base_fee_per_gas", "baseFeePerGas", 7 * 10**9),
    ("withdrawals_root", "withdrawalsRoot", bytes([8] * 32)),
    ("blob_gas_used", "blobGasUsed", 131_072),
    ("excess_blob_gas", "excessBlobGas", 0),
    ("parent_beacon_block_root", "parentBeaconBlockRoot", bytes([9] * 32)),
    ("requests_hash", "requestsHash", bytes([10] * 32)),
]
NAMES = {
    "parent_hash": "parentHash",
    "uncles_hash": "sha3Uncles",
    "coinbase": "miner",
    "state_root": "stateRoot",
    "transaction_root": "transactionsRoot",
    "receipt_root": "receiptsRoot",
    "difficulty": "difficulty",
    "block_number": "number",
    "gas_limit": "gasLimit",
    "gas_used": "gasUsed",
    "timestamp": "timestamp",
    "extra_data": "extraData",
    "mix_hash": "mixHash",
    "nonce": "nonce",
}


@pytest.mark.parametrize(
    ("kind", "later"),
    [
        (BlockHeader, 0),
        (LondonBlockHeader, 1),
        (ShanghaiBlockHeader, 2),
        (CancunBlockHeader, 5),
        (PragueBlockHeader, 6),
    ],
)
def test_a_header_of_each_fork_has_its_hash(kind: Any, later: int) -> None:
    added = {name: value for name, _, value in LATER[:later]}
    answer: dict[str, Any] = {
        NAMES[name]: hex(value) if isinstance(value, int) else hexed(value)
        for name, value in FIRST.items()
        if name in NAMES
    }
    bloom = FIRST["bloom"].to_bytes(256, "big")
    answer["logsBloom"] = hexed(bloom)
    for _, name, value in LATER[:later]:
        answer[name] = hex(value) if isinstance(value, int) else hexed(value)
    expected = kind(**FIRST, **added)
    raw = blocks.header_bytes(answer | {"unknown": "0x1", "hash": "0x00"})
    assert keccak(raw) == expected.hash
    header = blocks.read_header(raw)
    assert (header.parent, header.number) == (bytes([1] * 32), 19_000_000)
    assert (header.transactions_root, header.receipts_root) == (bytes([5] * 32), bytes([6] * 32))
    assert (header.bloom, header.gas_used, header.timestamp) == (bloom, 12_345_678, 1_700_000_000)


@pytest.mark.parametrize("raw", [b"", b"\x80", rlp.encode([b""] * 15), rlp.encode([[]] * 15)])
def test_what_is_no_header_is_refused(raw: bytes) -> None:
    with pytest.raises(LedgerError, match="is not a header"):
        blocks.read_header(raw)


# ---- transactions ----

ACCESS = [{"address": to_checksum_address(OTHER), "storageKeys": [hexed(bytes([4] * 32))]}]
FEES = {"maxFeePerGas": 10**10, "maxPriorityFeePerGas": 2}
BASE = {"nonce": 300, "gas": 90_000, "value": 5, "data": b"call", "chainId": 20_777}
BLOB = bytes([1, *[7] * 31])


def authorization() -> Any:
    return ACCOUNT.sign_authorization({"chainId": 20_777, "address": OTHER, "nonce": 9})


TRANSACTIONS: list[tuple[int, dict[str, Any]]] = [
    (0, {"gasPrice": 10**9}),
    (1, {"gasPrice": 10**9, "accessList": ACCESS}),
    (2, {**FEES, "accessList": ACCESS}),
    (2, {**FEES, "accessList": []}),
    (4, {**FEES, "accessList": [], "authorizationList": [authorization()]}),
]


def answer_of(kind: int, fields: dict[str, Any], signed: SignedTransaction) -> dict[str, Any]:
    """What a node says of a transaction."""
    whole = BASE | fields
    data = whole.pop("data")
    to = whole.pop("to", None)
    answer = {key: hex(value) for key, value in whole.items() if isinstance(value, int)}
    answer["input"], answer["type"] = hexed(data), hex(kind)
    listed: dict[str, Any] = {"to": hexed(to) if to else None}
    for key in ("accessList", "blobVersionedHashes"):
        if key in whole:
            listed[key] = whole[key]
    if "authorizationList" in whole:
        listed["authorizationList"] = [
            {
                "chainId": hex(one.chain_id),
                "address": hexed(one.address),
                "nonce": hex(one.nonce),
                "yParity": hex(one.y_parity),
                "r": hex(one.r),
                "s": hex(one.s),
            }
            for one in whole["authorizationList"]
        ]
    parity = {"yParity": hex(signed.v)} if kind else {}
    return {
        **answer,
        **listed,
        **parity,
        "v": hex(signed.v),
        "r": hex(signed.r),
        "s": hex(signed.s),
    }


@pytest.mark.parametrize(("kind", "fields"), TRANSACTIONS)
@pytest.mark.parametrize("to", [OTHER, None])
def test_a_transaction_of_each_type_has_its_hash(
    kind: int, fields: dict[str, Any], to: bytes | None
) -> None:
    if kind == 4 and to is None:
        pytest.skip("a transaction of type 4 creates no contract")
    target = {"to": to} if to else {}
    signed = ACCOUNT.sign_transaction(BASE | fields | target)
    answer = answer_of(kind, fields | target, signed)
    raw = blocks.transaction_bytes(answer)
    assert raw == bytes(signed.raw_transaction)
    assert keccak(raw) == bytes(signed.hash)
    assert blocks.recipient(raw) == (to or b"")
    assert blocks.call_data(raw) == b"call"
    created = blocks.contract_address(KEY.address, 300)
    assert blocks.calls(raw, to or created)
    assert not blocks.calls(raw, bytes(20))
    if kind:
        without = {key: value for key, value in answer.items() if key != "yParity"}
        assert blocks.transaction_bytes(without) == raw


def test_a_transaction_with_blobs_has_its_hash() -> None:
    """No library here signs one without its blobs: the fields in the order of EIP-4844."""
    numbers = [20_777, 300, 2, 10**10, 90_000]
    access = [[OTHER, [bytes([4] * 32)]]]
    body = [*numbers, OTHER, 5, b"call", access, 17, [BLOB], 1, 2, 3]
    fields = FEES | {"to": OTHER, "accessList": ACCESS, "blobVersionedHashes": [hexed(BLOB)]}
    answer = {
        **answer_of(3, fields | {"maxFeePerBlobGas": 17}, ACCOUNT.sign_transaction(BASE | FEES)),
        **{"yParity": "0x1", "r": "0x2", "s": "0x3"},
    }
    assert blocks.transaction_bytes(answer) == b"\x03" + rlp.encode(body)


def test_a_type_that_nobody_knows_is_named() -> None:
    with pytest.raises(LedgerError, match="unknown type 126"):
        blocks.transaction_bytes({"type": "0x7e"})


@given(st.binary(max_size=120))
def test_bytes_that_are_no_transaction_are_refused(raw: bytes) -> None:
    """A list of nine to fifteen parts, typed or not, is the least that a transaction is."""
    try:
        body = rlp.decode(raw[1:] if raw[:1] < b"\xc0" else raw)
        listed = isinstance(body, list) and len(body) >= 4
    except rlp.DecodingError:
        listed = False
    assume(not listed)  # and hardly any draw is
    for read in (blocks.recipient, lambda raw: blocks.calls(raw, OTHER), blocks.read_receipt):
        with pytest.raises(LedgerError, match="is not a"):
            read(raw)


@pytest.mark.parametrize(("kind", "fields"), TRANSACTIONS)
def test_a_transaction_cut_short_or_continued_is_refused(kind: int, fields: dict[str, Any]) -> None:
    raw = bytes(ACCOUNT.sign_transaction(BASE | fields | {"to": OTHER}).raw_transaction)
    assert blocks.calls(raw, OTHER)
    for damaged in (*(raw[:end] for end in range(len(raw))), raw + b"\x00"):
        with pytest.raises(LedgerError, match="is not a transaction"):
            blocks.recipient(damaged)


@given(secret=st.binary(min_size=32, max_size=32), nonce=st.integers(0, 2**40), flip=st.data())
def test_a_creation_makes_the_signers_contract(
    secret: bytes, nonce: int, flip: st.DataObject
) -> None:
    """The sender is in the signature alone: another signature is another contract, or none."""
    assume(0 < int.from_bytes(secret, "big") < 2**255)
    account = Account.from_key(secret)
    for kind, fields in TRANSACTIONS[:4]:
        raw = bytes(account.sign_transaction(BASE | fields | {"nonce": nonce}).raw_transaction)
        sender = bytes.fromhex(account.address[2:])
        made = keccak(rlp.encode([sender, nonce]))[12:]
        assert blocks.calls(raw, made)
        *body, s = rlp.decode(raw[1:] if kind else raw)
        other = bytearray(s)
        other[flip.draw(st.integers(0, len(s) - 1))] ^= 1 << flip.draw(st.integers(0, 7))
        changed = raw[: 1 if kind else 0] + rlp.encode([*body, bytes(other)])
        assert not blocks.calls(changed, made)


# ---- receipts, tries, blooms ----


@pytest.mark.parametrize("kind", [0, 2])
@pytest.mark.parametrize("status", [0, 1])
def test_a_receipt_has_its_bytes(kind: int, status: int) -> None:
    topics = [5, 2**255 + 1]
    log = EthLog(address=OTHER, topics=topics, data=b"said")
    theirs = EthReceipt(
        state_root=bytes([1]) if status else b"",
        gas_used=77_000,
        bloom=int(BloomFilter.from_iterable([OTHER])),
        logs=[log],
    )
    words = [topic.to_bytes(32, "big") for topic in topics]
    answer = {
        "type": hex(kind),
        "status": hex(status),
        "cumulativeGasUsed": hex(77_000),
        "logsBloom": hexed(theirs.bloom.to_bytes(256, "big")),
        "logs": [
            {"address": hexed(OTHER), "topics": [hexed(w) for w in words], "data": "0x73616964"}
        ],
    }
    raw = blocks.receipt_bytes(answer)
    assert raw == (bytes([kind]) if kind else b"") + rlp.encode(theirs)
    receipt = blocks.read_receipt(raw)
    assert receipt.succeeded == bool(status)
    assert receipt.emitted == (blocks.Emitted(OTHER, Log(tuple(words), b"said")),)


@given(st.lists(st.binary(min_size=1, max_size=200), max_size=40))
def test_the_root_is_that_of_the_trie(items: list[bytes]) -> None:
    class Bare:
        """py-evm asks its items to encode themselves."""

        def __init__(self, raw: bytes) -> None:
            self.raw = raw

        def encode(self) -> bytes:
            return self.raw

    root, _ = make_trie_root_and_nodes([Bare(item) for item in items])  # type: ignore[misc]
    assert blocks.trie_root(items) == root


@given(
    st.sets(st.binary(min_size=20, max_size=20), max_size=60), st.binary(min_size=20, max_size=20)
)
def test_the_filter_knows_what_left_a_mark(inside: set[bytes], asked: bytes) -> None:
    bloom = BloomFilter.from_iterable(inside)
    raw = int(bloom).to_bytes(256, "big")
    assert all(blocks.may_hold(raw, address) for address in inside)
    assert blocks.may_hold(raw, asked) == (asked in bloom)
    assert not blocks.may_hold(bytes(256), secrets.token_bytes(20))
