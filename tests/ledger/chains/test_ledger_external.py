"""A contract on a node: its chain as a file passes without the node, and nothing else does."""

import random
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import rlp

from ledger.audit.chain_file import audit
from ledger.audit.history import read_history
from ledger.chains import blocks, export
from ledger.chains.export import BlockLine, HeaderLine, Line, NodeLine, SealLine, VisitedLine
from ledger.chains.rpc import JsonRpc
from ledger.client.consortium import Consortium
from ledger.members.keys import keccak
from ledger.protocol import contract
from tests.ledger.chains.test_ledger_node import connected, members
from tests.ledger.conftest import play_round, small_chain, story
from tests.support.anvil import CHAIN_ID, Anvil, serving

pytestmark = pytest.mark.timeout(120)
# Positions in a header.
PARENT, TRANSACTIONS, RECEIPTS, BLOOM = 0, 4, 5, 6
SEED, OTHER = 81, 82


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with serving(tmp_path_factory.mktemp("external")) as node:
        yield node


@pytest.fixture(scope="module")
def history(node: Anvil) -> Consortium:
    """The story, with others' transactions between and in the blocks of its own."""
    rpc = JsonRpc(node.url)
    rpc.one("anvil_mine", hex(3))
    client, other = connected(node, SEED), connected(node, OTHER, mode="merkle")
    play_round(other, 1)
    story(client)
    to = client.connection.address
    # Anybody may send a commitment; this one is refused, and leaves its mark on the chain alone.
    late = contract.encode_call("commit_batch", 4, [], False)
    node.send(bytes([7] * 32), to=to, data=late, gasPrice=10**10)
    # A round opened and closed in blocks of several transactions, by two consortia at a time.
    rpc.one("evm_setAutomine", False)
    for one in (client, other):
        count = one.connection.chain.nonce(one.members.coordinator.address)  # type: ignore[attr-defined]
        data = contract.encode_call("open_round", 5 if one is client else 2, one.model_hash)
        node.send(
            one.members.coordinator.secret,
            wait=False,
            nonce=count,
            to=one.connection.address,
            data=data,
            maxFeePerGas=10**10,
            maxPriorityFeePerGas=1,
            accessList=[{"address": "0x" + to.hex(), "storageKeys": ["0x" + "00" * 32]}],
        )
    rpc.one("anvil_mine", "0x1")
    rpc.one("evm_setAutomine", True)
    client.abandon_round(5)
    rpc.one("anvil_mine", hex(40))
    return client


@pytest.fixture(scope="module")
def original(history: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "chain.jsonl"
    head = history.export(path)
    assert head == history.head_hash
    assert [child.name for child in path.parent.iterdir()] == [path.name]
    return path


@pytest.fixture
def lines(original: Path) -> list[Line]:
    return [export.parse(text, "a line") for text in original.read_bytes().splitlines(True)]


def faults_of(lines: list[Line], path: Path) -> list[tuple[str, str]]:
    export.write(path, lines)
    return [(fault.place, fault.fault) for fault in audit(path).faults]


# ---- what the client wrote ----


def test_the_node_tells_the_same_story_as_a_chain_in_process(
    original: Path, history: Consortium, tmp_path: Path
) -> None:
    here = small_chain(seed=SEED)
    story(here)
    here.export(tmp_path / "here.jsonl")
    ours, theirs = audit(tmp_path / "here.jsonl"), audit(original)
    assert theirs.faults == []
    assert theirs.head == history.head_hash
    assert theirs.seats == ours.seats
    assert [replace(r, blocks=[]) for r in theirs.rounds[:4]] == [
        replace(r, blocks=[]) for r in ours.rounds
    ]
    assert [record.status for record in theirs.rounds[3:]] == ["abandoned", "abandoned"]
    assert theirs.signatures == ours.signatures
    # Creation, three registrations, three rounds of six, a reinstatement, four calls around the
    # abandoned round, the refused call, and round 5.
    assert theirs.transactions == 4 + 3 * 6 + 1 + 3 + 1 + 2
    assert theirs.node_blocks is not None
    assert theirs.node_blocks[0] == 4


def test_other_blocks_are_there_by_their_headers_alone(
    lines: list[Line], history: Consortium
) -> None:
    kinds = [type(line) for line in lines]
    assert kinds[:2] == [NodeLine, VisitedLine]
    # Those mined empty, and the other consortium's.
    assert kinds.count(HeaderLine) > 40
    shared = [
        line for line in lines if isinstance(line, VisitedLine) and len(line.transactions) > 1
    ]
    assert shared
    address = history.connection.address
    for line in lines:
        if not isinstance(line, VisitedLine):
            continue
        told = [
            blocks.read_receipt(receipt)
            for raw, receipt in zip(line.transactions, line.receipts, strict=True)
            if blocks.calls(raw, address)
        ]
        assert told
        # Whatever changes something leaves an event, so that no block with a change is left out.
        assert all(any(e.address == address for e in r.emitted) for r in told if r.succeeded)


def test_a_fresh_process_needs_no_node(original: Path) -> None:
    run = [sys.executable, "-m", "ledger.audit", str(original)]
    result = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (0, "")
    assert "PASSED" in result.stdout
    assert "On an external node: the headers of blocks 4 to" in result.stdout
    assert "hospital 0 lost reputation, 0.2000 to 0.0600: rejected; suspended" in result.stdout


def test_the_reader_tells_what_the_audit_executes(original: Path) -> None:
    read, executed = read_history(original), audit(original)
    assert read.rounds == executed.rounds
    assert (read.head, read.seats) == (executed.head, executed.seats)
    assert read.node_blocks == executed.node_blocks
    assert len(read.blocks) == executed.blocks
    assert sum(len(block.calls) for block in read.blocks) == executed.transactions
    assert sum(call.refused for block in read.blocks for call in block.calls) == 1


# ---- what nobody wrote ----


def test_any_changed_byte_fails_and_its_line_is_named(original: Path, tmp_path: Path) -> None:
    raw = original.read_bytes()
    starts = [0, *[i + 1 for i, byte in enumerate(raw) if byte == 0x0A][:-1]]
    rng, path = random.Random(0), tmp_path / "bad.jsonl"
    for number, start in enumerate(starts, start=1):
        end = starts[number] if number < len(starts) else len(raw)
        for place in {start, end - 1, *(rng.randrange(start, end) for _ in range(4))}:
            changed = bytearray(raw)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            report = audit(path)
            assert not report.ok, (number, place)
            named = {fault.place.split(",")[0] for fault in report.faults}
            # A lost line break runs two lines together; line 1 and the seal speak for all.
            wanted = {f"line {number}", f"line {number + 1}", "seal"}
            assert named & wanted or number == 1, (number, place, report.faults)


def relinked(lines: list[Line], client: Consortium) -> list[Line]:
    """All headers made to follow again and signed by the validators: execution has to find it."""
    start, *between, _ = lines
    assert isinstance(start, NodeLine)
    result: list[Line] = [start]
    parent = b""
    for line in between:
        assert isinstance(line, HeaderLine | VisitedLine)
        fields = list(rlp.decode(line.header))
        fields[PARENT] = parent or fields[PARENT]
        if isinstance(line, VisitedLine):
            fields[TRANSACTIONS] = blocks.trie_root(line.transactions)
            fields[RECEIPTS] = blocks.trie_root(line.receipts)
        header = rlp.encode(fields)
        parent = keccak(header)
        result.append(replace(line, header=header, hash=parent))
    last = result[-1]
    assert isinstance(last, HeaderLine | VisitedLine)
    digest = client.connection.messages.head(last.number, last.hash)
    signatures = {i: key.sign(digest) for i, key in enumerate(client.members.validators)}
    return [*result, SealLine(last.number, last.hash, signatures)]


def place_of(lines: list[Line], client: Consortium, name: str) -> int:
    """Where the first block with a call by this name stands."""
    for place, line in enumerate(lines):
        if isinstance(line, VisitedLine) and place > 1:
            for raw in line.transactions:
                if blocks.recipient(raw) == client.connection.address and (
                    contract.decode_call(blocks.call_data(raw))[0] == name
                ):
                    return place
    raise AssertionError(name)


def test_relinking_alone_changes_nothing(
    lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    assert relinked(lines, history) == lines
    assert faults_of(lines, tmp_path / "chain.jsonl") == []


def forged_event(line: VisitedLine) -> VisitedLine:
    kind, body = line.receipts[0][:1], rlp.decode(line.receipts[0][1:])
    body[3][0][2] = bytes(len(body[3][0][2]))
    return replace(line, receipts=(kind + rlp.encode(body), *line.receipts[1:]))


def failed(line: VisitedLine) -> VisitedLine:
    kind, body = line.receipts[0][:1], rlp.decode(line.receipts[0][1:])
    body[0] = b""
    return replace(line, receipts=(kind + rlp.encode(body), *line.receipts[1:]))


def left_out(line: VisitedLine) -> VisitedLine:
    return replace(line, transactions=line.transactions[1:], receipts=line.receipts[1:])


def unsigned(line: VisitedLine) -> VisitedLine:
    fields = rlp.decode(line.transactions[0][1:])
    fields[-1] = bytes([1] * 32)
    raw = line.transactions[0][:1] + rlp.encode(fields)
    return replace(line, transactions=(raw, *line.transactions[1:]))


@pytest.mark.parametrize(
    ("change", "call", "where", "why"),
    [
        (forged_event, "finalize", "finalize", "left other events on the node"),
        (forged_event, "commit_batch", "commit_batch", "left other events on the node"),
        (failed, "finalize", "finalize", "was refused on the node, and succeeded when executed"),
        (left_out, "commit_batch", "attest_shares", "succeeded on the node, and was refused"),
        (left_out, "finalize", "open_round", "succeeded on the node, and was refused"),
        # Another sender, who is not the coordinator.
        (unsigned, "open_round", "open_round", "succeeded on the node, and was refused"),
    ],
)
def test_a_forgery_that_everybody_signed_is_found_by_execution(
    change: Callable[[VisitedLine], VisitedLine],
    call: str,
    where: str,
    why: str,
    lines: list[Line],
    history: Consortium,
    tmp_path: Path,
) -> None:
    place = place_of(lines, history, call)
    if (change, call) == (left_out, "finalize"):
        # The next round cannot be opened then.
        following = place + place_of([lines[0], lines[1], *lines[place + 1 :]], history, where) - 1
    else:
        following = place_of(lines, history, where)
    line = lines[place]
    assert isinstance(line, VisitedLine)
    forged = [*lines[:place], change(line), *lines[place + 1 :]]
    ((found, fault),) = faults_of(relinked(forged, history), tmp_path / "bad.jsonl")
    assert why in fault
    assert found.startswith(f"line {following + 1}, block ")


def test_a_block_reduced_to_its_header_is_missed(
    lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    place = place_of(lines, history, "attest_batch")
    line = lines[place]
    assert isinstance(line, VisitedLine)
    lines[place] = HeaderLine(line.number, line.hash, line.header)
    faults = faults_of(lines, tmp_path / "bad.jsonl")
    assert faults == [
        (
            f"line {place + 1}, block {line.number}",
            "may hold events of the contract, and its transactions are left out",
        )
    ]


def test_lists_that_are_not_those_of_the_header_are_found(
    lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    place, path = place_of(lines, history, "finalize"), tmp_path / "bad.jsonl"
    line = lines[place]
    assert isinstance(line, VisitedLine)
    where = f"line {place + 1}, block {line.number}"
    lines[place] = left_out(line)
    assert faults_of(lines, path) == [
        (where, "the transactions are not those of the header"),
        (where, "the receipts are not those of the header"),
    ]
    lines[place] = forged_event(line)
    assert faults_of(lines, path) == [(where, "the receipts are not those of the header")]
    lines[place] = replace(line, header=lines[place - 1].header)  # type: ignore[union-attr]
    assert faults_of(lines, path)[0] == (where, "the header does not have the hash stated")


def test_lines_out_of_order_are_found(
    lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    number = lines[6].number  # type: ignore[union-attr]
    assert faults_of(lines[:6] + lines[7:], path) == [("line 7", f"is not block {number}")]
    assert faults_of([lines[0], *lines[2:]], path)[0][0] == "line 2, block 5"
    assert faults_of(lines[:-1], path)[0][1] == "is not the seal: the file is cut off"
    assert faults_of([*lines[:-2], lines[-1]], path) == [("seal", "does not name the last block")]
    assert faults_of([*lines[:3], lines[-1], *lines[3:]], path) == [
        ("line 4", "is not a block of a node's chain")
    ]
    assert faults_of([*lines[:3], BlockLine(5, bytes(32), b""), *lines[4:]], path)[0][0] == "line 4"
    assert faults_of([lines[0], lines[-2], lines[-1]], path) == [
        ("line 2", "is not the block that created the contract")
    ]


def test_another_chain_or_contract_in_the_first_line_fails(
    lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    path = tmp_path / "bad.jsonl"
    start = lines[0]
    assert isinstance(start, NodeLine)
    ((_, fault),) = faults_of([replace(start, chain_id=1), *lines[1:]], path)
    assert fault == f"a transaction for chain {CHAIN_ID}"
    ((place, fault),) = faults_of([replace(start, contract=bytes(20)), *lines[1:]], path)
    assert (place, fault) == ("line 2, block 4", "does not create the contract")


def test_the_seal_needs_a_quorum(lines: list[Line], history: Consortium, tmp_path: Path) -> None:
    seal = lines[-1]
    assert isinstance(seal, SealLine)
    few = replace(seal, signatures={0: seal.signatures[0]})
    faults = faults_of([*lines[:-1], few], tmp_path / "bad.jsonl")
    assert faults == [("seal", "1 validators signed the head, 2 needed")]
    # Signatures made for another consortium on the same chain are void here.
    stranger = members(OTHER).validators
    digest = history.connection.messages.head(seal.number, seal.hash)
    alien = replace(seal, signatures={i: key.sign(digest) for i, key in enumerate(stranger)})
    faults = faults_of([*lines[:-1], alien], tmp_path / "bad.jsonl")
    assert [fault for _, fault in faults] == [
        f"the signature of validator {i} is not its own" for i in range(3)
    ]
