"""A chain file from a stranger is read within bounds, and foreign code in it is not executed."""

import os
import resource
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
import rlp

from ledger.audit import history
from ledger.audit.chain_file import audit
from ledger.audit.history import read_history
from ledger.audit.report import AuditReport
from ledger.chains import blocks, export
from ledger.chains.export import BlockLine, GenesisLine, Line, NodeLine, SealLine, VisitedLine
from ledger.chains.in_process import BALANCE, TRANSACTION_GAS
from ledger.errors import LedgerError
from ledger.files import nesting, parse_json, printable, read_plain, write_whole
from ledger.members.keys import Signer, keccak, simulation_key
from ledger.members.members import MAX_HOSPITALS
from ledger.protocol import artifacts, contract
from tests.ledger.conftest import HOSPITALS, digest, play_round, small_chain

CHAIN_ID = 5
MAKER = simulation_key(1, "administrator", 0)
# JUMPDEST, PUSH1 0, JUMP: it ends when the gas does.
FOR_EVER = bytes.fromhex("5b600056")
NEVER_ENDING = 10**15
EMPTY_BLOOM = bytes(256)


def creation(signer: Signer, gas: int, code: bytes) -> bytes:
    """A signed transaction that creates a contract."""
    fields = [CHAIN_ID, 0, 0, 10**9, gas, b"", 0, code, []]
    signature = signer.sign(keccak(b"\x02" + rlp.encode(fields)))
    fields += [signature.parity, int.from_bytes(signature.r, "big"), signature.s]
    return b"\x02" + bytes(rlp.encode(fields))


def header(transactions: list[bytes], receipts: list[bytes], gas_limit: int) -> bytes:
    fields = [
        *(bytes(32), bytes(32), bytes(20), bytes(32)),
        *(blocks.trie_root(transactions), blocks.trie_root(receipts), b"\xff" * 256),
        *(0, 1, gas_limit, 0, 1, b"", bytes(32), bytes(8)),
    ]
    return bytes(rlp.encode(fields))


def of_a_node(gas: int, code: bytes) -> list[Line]:
    """The block that creates a contract on some node's chain, and a seal."""
    raw = creation(MAKER, gas, code)
    receipt = b"\x02" + bytes(rlp.encode([1, gas, EMPTY_BLOOM, []]))
    head = header([raw], [receipt], 2**62)
    address = blocks.contract_address(MAKER.address, 0)
    return [
        NodeLine(CHAIN_ID, address),
        VisitedLine(1, keccak(head), head, (raw,), (receipt,)),
        SealLine(1, keccak(head), {}),
    ]


def audited(lines: list[Line], path: Path) -> AuditReport:
    export.write(path, lines)
    assert path.stat().st_size < 200_000
    return audit(path)


@pytest.mark.parametrize(
    ("gas", "code", "fault"),
    [
        (NEVER_ENDING, artifacts.bytecode(), "with 1,000,000,000,000,000 gas; a block has"),
        (NEVER_ENDING, FOR_EVER, "with 1,000,000,000,000,000 gas; a block has"),
        (TRANSACTION_GAS, FOR_EVER, "is not the one shipped with this package"),
        (TRANSACTION_GAS, FOR_EVER + artifacts.bytecode(), "is not the one shipped"),
    ],
)
def test_foreign_code_on_a_node_is_refused_before_it_runs(
    gas: int, code: bytes, fault: str, tmp_path: Path
) -> None:
    report = audited(of_a_node(gas, code), tmp_path / "chain.jsonl")
    assert [fault in found.fault for found in report.faults] == [True]
    assert report.transactions == 0


def test_foreign_code_in_a_chain_of_this_process_is_refused_before_it_runs(tmp_path: Path) -> None:
    """The header's hashes are those of a block that was never executed: nobody gets that far."""
    from ledger.chains.in_process import Genesis, InProcessChain

    chain = InProcessChain(Genesis(CHAIN_ID, 0, (MAKER.address,)))
    raw = creation(MAKER, TRANSACTION_GAS, FOR_EVER)
    fields = rlp.decode(header([raw], [], 60_000_000))
    fields[0] = chain.head_hash
    block = bytes(rlp.encode([fields, [raw], [], []]))
    digest = keccak(rlp.encode(fields))
    address = blocks.contract_address(MAKER.address, 0)
    lines: list[Line] = [
        GenesisLine(CHAIN_ID, 0, (MAKER.address,), address),
        BlockLine(1, digest, block),
        SealLine(1, digest, {}),
    ]
    report = audited(lines, tmp_path / "chain.jsonl")
    assert "is not the one shipped" in report.faults[0].fault
    assert BALANCE > 0


def nested(levels: int) -> bytes:
    """RLP of a list in a list in a list."""
    raw = b"\xc0"
    for _ in range(levels):
        raw = bytes(rlp.codec.length_prefix(len(raw), 0xC0)) + raw
    return raw


@pytest.mark.parametrize("levels", [9, 20_000])
def test_blocks_nested_deeper_than_any_are_refused(levels: int, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nested deeper than 8 levels"):
        blocks.decode_rlp(nested(levels))
    for read in (blocks.read_header, blocks.read_receipt, blocks.recipient):
        with pytest.raises(LedgerError):
            read(nested(levels))
    block = nested(levels)
    lines: list[Line] = [
        GenesisLine(CHAIN_ID, 0, (), bytes(20)),
        BlockLine(1, keccak(block), block),
        SealLine(1, keccak(block), {}),
    ]
    report = audited(lines, tmp_path / "chain.jsonl")
    assert "is not a block (nested deeper" in report.faults[0].fault
    with pytest.raises(LedgerError, match="nested deeper"):
        read_history(tmp_path / "chain.jsonl")


def unexecuted(calls: list[tuple[str, tuple[object, ...]]], path: Path) -> None:
    """A chain of one good round, with calls in its last block that nobody signed or executed."""
    chain = small_chain(seed=3)
    play_round(chain, 1)
    chain.export(path)
    file = export.read(path)
    assert isinstance(file, export.ChainFile)
    *before, last = file.blocks
    fields, transactions, *rest = rlp.decode(last.rlp)
    words = rlp.decode(transactions[0][1:])
    for name, args in calls:
        words[7] = contract.encode_call(name, *args)
        transactions.append(b"\x02" + rlp.encode(words))
    changed = replace(last, rlp=rlp.encode([fields, transactions, *rest]))
    export.write(path, [file.genesis, *before, changed, file.seal])


def test_a_picture_is_drawn_of_no_more_than_a_contract_holds(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "chain.jsonl"
    accounts = [(i + 1).to_bytes(20, "big") for i in range(MAX_HOSPITALS - HOSPITALS + 1)]
    given = [bytes(32)] * len(accounts)
    unexecuted([("register", (2, accounts, given, []))], path)
    with pytest.raises(LedgerError, match="registers more hospitals than the 1024 that have seats"):
        read_history(path)
    rounds = [(name, args) for r in (2, 3, 4) for name, args in ending(r)]
    unexecuted([("register", (2, accounts[1:], given[1:], [])), *rounds], path)
    assert len(read_history(path).seats[2]) == MAX_HOSPITALS
    monkeypatch.setattr(history, "MOST_TOLD", HOSPITALS + 3 * MAX_HOSPITALS - 1)
    with pytest.raises(LedgerError, match="more than are read to be drawn"):
        read_history(path)


def ending(number: int) -> list[tuple[str, tuple[object, ...]]]:
    return [("open_round", (number, digest("model", 1))), ("abandon_round", (number,))]


@pytest.mark.parametrize(
    "value", [b"", b"\x01", b"a" * 60, [], [b"a", [b"b" * 60, []]], [[[]] * 3]]
)
def test_what_is_not_nested_is_decoded(value: object) -> None:
    assert blocks.decode_rlp(rlp.encode(value)) == value


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a":' * 100_000, '["[", ' * 50_000])
def test_deep_json_is_refused_not_followed(
    text: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """With Python's limit raised, as py-evm does, its own parser would run into the stack's end."""
    request.addfinalizer(partial(sys.setrecursionlimit, sys.getrecursionlimit()))
    sys.setrecursionlimit(200_000)
    with pytest.raises(ValueError, match="nested deeper than 64 levels"):
        parse_json(text)
    path = tmp_path / "chain.jsonl"
    path.write_text(f"{text}\n" * 3)
    (fault,) = audit(path).faults
    assert "not a line of a chain file" in fault.fault


def test_brackets_in_words_are_no_nesting() -> None:
    text = '{"a": "' + "[" * 100 + '\\"[[' + '", "b": [{"c": "]"}]}'
    assert nesting(text) == 3
    assert parse_json(text)["b"] == [{"c": "]"}]
    for name in ("NaN", "Infinity", "-Infinity"):
        with pytest.raises(ValueError, match="no number of JSON"):
            parse_json(f'{{"loss": {name}}}')


@pytest.mark.parametrize("number", ["1e999", "-1e400", "9" * 81, "9" * 400])
def test_numbers_that_no_float_holds_are_refused(number: str) -> None:
    with pytest.raises(ValueError, match="number"):
        parse_json(f'{{"loss": {number}}}')
    assert parse_json(f"[{2**256 - 1}, 1e300, -1]") == [2**256 - 1, 1e300, -1]


def linked(path: Path) -> None:
    (path.parent / "elsewhere").write_bytes(b"{}")
    path.symlink_to(path.parent / "elsewhere")


STRANGE: dict[str, tuple[Callable[[Path], None], str]] = {
    "a pipe": (os.mkfifo, "is not a plain file"),
    "a link": (linked, "symbolic link"),
    "a folder": (lambda path: path.mkdir(), "Is a directory"),
    "too long": (lambda path: path.write_bytes(b"12345678901") and None, "longer than 10 bytes"),
}


@pytest.mark.parametrize("name", STRANGE)
def test_only_plain_files_are_read(name: str, tmp_path: Path) -> None:
    make, fault = STRANGE[name]
    make(tmp_path / "x")
    with pytest.raises((OSError, ValueError), match=fault):
        read_plain(tmp_path / "x", limit=10)
    if name == "a link":
        assert read_plain(tmp_path / "x", follow=True) == b"{}"


def test_a_pipe_in_the_place_of_a_chain_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "chain.jsonl")
    done = subprocess.run(
        [sys.executable, "-m", "ledger.audit", str(tmp_path / "chain.jsonl")],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_CPU, (60, 60)),
    )
    assert done.returncode == 1
    assert "is not a plain file" in done.stdout


def test_writing_follows_no_link(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_text("untouched")
    target = tmp_path / "report.html"
    target.symlink_to(victim)
    (tmp_path / "report.html.partial").symlink_to(victim)
    write_whole(target, [b"new", b"er"])
    assert (victim.read_text(), target.read_text()) == ("untouched", "newer")
    assert not target.is_symlink()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["report.html", "victim"]


def test_what_cannot_be_printed_is_spelt() -> None:
    assert printable("\x1b]0;x\x07 josé \u202e\udc80\n") == r"\x1b]0;x\x07 josé \u202e\udc80\n"
