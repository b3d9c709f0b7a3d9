"""The audit passes on what the client wrote, and on nothing else."""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import rlp

from ledger.audit import chain_file as audit_module
from ledger.audit.chain_file import audit, main
from ledger.chains import export
from ledger.chains.export import BlockLine, GenesisLine, Line, SealLine
from ledger.client.consortium import Consortium
from ledger.members.keys import Signature, keccak, simulation_key
from ledger.members.members import HOSPITAL, simulated_certificate
from ledger.protocol import reputation
from ledger.protocol.parameters import SCALE
from ledger.protocol.reputation import Standing
from tests.ledger.conftest import GOOD, MODEL, digest, play_round, roots, small_chain, story


@pytest.fixture(scope="module")
def history() -> Consortium:
    """Three rounds: a good one, an abnormal one, one abandoned; and a reinstatement."""
    client = small_chain(seed=5)
    story(client)
    return client


@pytest.fixture(scope="module")
def original(history: Consortium, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("chain") / "chain.jsonl"
    history.export(path)
    return path


@pytest.fixture
def lines(original: Path) -> list[Line]:
    raw = original.read_bytes().splitlines(keepends=True)
    return [export.parse(text, "a line") for text in raw]


def audit_lines(lines: list[Line], path: Path) -> list[tuple[str, str]]:
    """Faults of a file with these lines."""
    export.write(path, lines)
    return [(fault.place, fault.fault) for fault in audit(path).faults]


def test_what_the_client_wrote_passes(original: Path, history: Consortium) -> None:
    report = audit(original)
    assert report.faults == []
    assert report.head == history.head_hash
    assert report.seats[HOSPITAL] == [signer.address for signer in history.members.hospitals]
    assert [record.status for record in report.rounds] == [
        "accepted",
        "abnormal",
        "accepted",
        "abandoned",
    ]
    # Signatures: 3 registrations by 2; commitments 3, 3, 4, 4; nodes twice 2 and validators 3 in
    # three rounds; a reinstatement by 2; 3 on the head.
    assert report.signatures == 6 + 14 + 3 * 7 + 2 + 3


def test_the_records_tell_the_round(original: Path) -> None:
    second = audit(original).rounds[1]
    assert second.commitments == {i: roots(2)[i] for i in range(3)}
    assert second.model == second.next_model == digest("model", 1)
    assert (second.result, second.candidate) == (digest("sum", 2), digest("model", 2))
    assert (second.accepted, second.rejected) == ([1], [0, 2])
    assert second.metrics[0].accuracy == SCALE // 2
    moved = {c.hospital: (c.before, c.after, c.suspended) for c in second.changes}
    one = SCALE
    assert moved == {
        0: (one // 2, one // 5, False),
        1: (one, one * 9 // 10, False),
        2: (one, one // 2, False),
    }
    assert second.reputations == [one // 5, one * 9 // 10, one // 2, one]


def test_report_reads_as_a_story(original: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(original)]) == 0
    text = capsys.readouterr().out
    assert "PASSED: every block, signature, verdict and reputation holds." in text
    assert "hospital 0 lost reputation, 1.0000 to 0.5000: rejected" in text
    assert "degraded beyond the limits: rolled back to model 0x" + digest("model", 1).hex() in text
    assert "hospital 0 lost reputation, 0.2000 to 0.0600: rejected; suspended" in text
    assert "reinstated hospital 0" in text
    assert "Round 4 (blocks 25 to 27): abandoned" in text
    # Blocks follow each other by 12 seconds from the genesis at 2026-01-01.
    assert "  from 2026-01-01 00:05:00 to 2026-01-01 00:05:24 on the chain" in text
    losses = text[text.index("Who lost reputation and why") : text.index("Hospitals at the end")]
    assert losses.splitlines()[1:3] == [
        "  round 1: hospital 0 lost reputation, 1.0000 to 0.5000: rejected",
        "  round 2: hospital 0 lost reputation, 0.5000 to 0.2000: rejected",
    ]
    assert "gained" not in losses
    assert "  hospital 0: 0.3000; 0 accepted, 3 rejected\n" in text
    certificate = simulated_certificate(simulation_key(5, "hospital", 0).address).hex()
    assert f"0x{certificate}\n" in text
    assert "block 24, 2026-01-01 00:04:48: reinstated hospital 0" in text


def test_the_command_fails_on_a_changed_file(original: Path, tmp_path: Path) -> None:
    raw = bytearray(original.read_bytes())
    raw[len(raw) // 2] ^= 1
    (tmp_path / "bad.jsonl").write_bytes(raw)
    run = [sys.executable, "-m", "ledger.audit", str(tmp_path / "bad.jsonl")]
    result = subprocess.run(run, capture_output=True, text=True, check=False)
    assert (result.returncode, result.stderr) == (1, "")
    assert "FAILED: 1 fault(s).\n  line " in result.stdout


def test_any_changed_byte_fails_and_its_line_is_named(original: Path, tmp_path: Path) -> None:
    raw = original.read_bytes()
    starts = [0, *[i + 1 for i, byte in enumerate(raw) if byte == 0x0A][:-1]]
    ends = [*starts[1:], len(raw)]
    rng = random.Random(0)
    path = tmp_path / "bad.jsonl"
    for number, (start, end) in enumerate(zip(starts, ends, strict=True), start=1):
        # First and last bytes of a line, where its structure is, and some between.
        places = {start, start + 3, end - 3, end - 2, end - 1}
        places |= {rng.randrange(start, end) for _ in range(8)}
        for place in places:
            changed = bytearray(raw)
            changed[place] ^= 1 << rng.randrange(8)
            path.write_bytes(changed)
            report = audit(path)
            assert not report.ok, (number, place)
            named = {fault.place.split(",")[0] for fault in report.faults}
            wanted = {f"line {number}", "seal"} if number == len(starts) else {f"line {number}"}
            # A lost line break runs two lines together; a new one splits a line.
            assert named & (wanted | {f"line {number + 1}"}), (number, place, report.faults)


@pytest.mark.parametrize(
    ("of_genesis", "of_seal"), [(7, 31), pytest.param(1, 1, marks=pytest.mark.nightly)]
)
def test_every_byte_of_genesis_and_seal_matters(
    original: Path, tmp_path: Path, of_genesis: int, of_seal: int
) -> None:
    """Every seventh and every 31st of them, and every night all."""
    raw = original.read_bytes()
    first, last = raw.index(b"\n"), raw.rindex(b"\n", 0, -1) + 1
    path = tmp_path / "bad.jsonl"
    for place in [*range(0, first, of_genesis), *range(last, len(raw), of_seal)]:
        changed = bytearray(raw)
        changed[place] ^= 1
        path.write_bytes(changed)
        assert not audit(path).ok, place


def test_another_spelling_of_the_same_fails(original: Path, tmp_path: Path) -> None:
    raw = original.read_text()
    for changed in (raw.replace('":', '": ', 1), raw.replace("ab", "AB", 1), raw + "\n", raw[:-1]):
        (tmp_path / "bad.jsonl").write_text(changed)
        assert not audit(tmp_path / "bad.jsonl").ok


Change = Callable[[list[Line]], list[Line]]


def resealed(lines: list[Line], client: Consortium) -> list[Line]:
    """Validators sign whatever head the lines now have: the last line of defence is execution."""
    blocks = [line for line in lines if isinstance(line, BlockLine)]
    head = client.connection.messages.head(len(blocks), blocks[-1].hash)
    signatures = {i: key.sign(head) for i, key in enumerate(client.members.validators)}
    return [*lines[:-1], SealLine(len(blocks), blocks[-1].hash, signatures)]


def rebuilt(block: BlockLine, **fields: bytes) -> BlockLine:
    """The block with header fields replaced, under its new hash."""
    names = {"parent": 0, "state_root": 3, "transaction_root": 4, "receipt_root": 5, "bloom": 6}
    header, *body = rlp.decode(block.rlp)
    header = list(header)
    for name, value in fields.items():
        header[names[name]] = value
    return BlockLine(block.number, keccak(rlp.encode(header)), rlp.encode([header, *body]))


@pytest.mark.parametrize("field", ["state_root", "receipt_root", "bloom"])
def test_a_forged_header_fails_even_if_sealed(
    field: str, lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    last = lines[-2]
    assert isinstance(last, BlockLine)
    width = 256 if field == "bloom" else 32
    forged = [*lines[:-2], rebuilt(last, **{field: b"\x01" * width}), lines[-1]]
    faults = audit_lines(resealed(forged, history), tmp_path / "bad.jsonl")
    assert [place for place, _ in faults] == [f"line {len(lines) - 1}, block {last.number}"]


def test_a_forged_block_in_the_middle_breaks_the_chain(lines: list[Line], tmp_path: Path) -> None:
    block = lines[8]
    assert isinstance(block, BlockLine)
    lines[8] = rebuilt(block, state_root=bytes(32))
    faults = audit_lines(lines, tmp_path / "bad.jsonl")
    assert faults == [("line 10, block 9", "does not follow from the block before it")]


def test_a_dropped_transaction_fails(lines: list[Line], tmp_path: Path) -> None:
    block = lines[9]
    assert isinstance(block, BlockLine)
    header, _, *rest = rlp.decode(block.rlp)
    lines[9] = BlockLine(block.number, block.hash, rlp.encode([header, [], *rest]))
    faults = audit_lines(lines, tmp_path / "bad.jsonl")
    assert faults == [("line 10, block 9", "the transactions are not those of the header")]


def test_dropped_swapped_and_missing_lines_fail(lines: list[Line], tmp_path: Path) -> None:
    path = tmp_path / "bad.jsonl"
    assert audit_lines(lines[:5] + lines[6:], path) == [("line 6", "is not block 5")]
    swapped = [*lines[:5], lines[6], lines[5], *lines[7:]]
    assert audit_lines(swapped, path) == [("line 6", "is not block 5")]
    (cut_off,) = audit_lines(lines[:-1], path)
    assert cut_off[1] == "is not the seal: the file is cut off"
    assert audit_lines(lines[1:], path) == [("line 1", "is not the genesis")]
    assert audit_lines(lines[-1:], path)[0][1].startswith("holds no chain")
    shortened = [*lines[:-2], lines[-1]]
    assert audit_lines(shortened, path) == [("seal", "does not name the last block")]


def test_a_file_that_is_not_there_fails(tmp_path: Path) -> None:
    (fault,) = audit(tmp_path / "nothing.jsonl").faults
    assert fault.fault == "cannot be read: No such file or directory"


def test_a_foreign_genesis_fails(lines: list[Line], tmp_path: Path) -> None:
    genesis = lines[0]
    assert isinstance(genesis, GenesisLine)
    lines[0] = GenesisLine(
        genesis.chain_id, genesis.timestamp + 1, genesis.funded, genesis.contract
    )
    faults = audit_lines(lines, tmp_path / "bad.jsonl")
    assert faults == [("line 1, genesis", "block 1 does not follow from it")]
    lines[0] = GenesisLine(genesis.chain_id, genesis.timestamp, genesis.funded, bytes(20))
    (fault,) = audit_lines(lines, tmp_path / "bad.jsonl")
    assert fault[0] == "line 2, block 1"


def test_the_seal_needs_a_quorum_of_the_right_keys(
    lines: list[Line], history: Consortium, tmp_path: Path
) -> None:
    seal, path = lines[-1], tmp_path / "bad.jsonl"
    assert isinstance(seal, SealLine)

    def with_signatures(signatures: dict[int, Signature]) -> list[tuple[str, str]]:
        return audit_lines([*lines[:-1], SealLine(seal.number, seal.hash, signatures)], path)

    assert with_signatures({i: seal.signatures[i] for i in (0, 2)}) == []
    assert with_signatures({0: seal.signatures[0]}) == [
        ("seal", "1 validators signed the head, 2 needed")
    ]
    swapped = {0: seal.signatures[1], 1: seal.signatures[0], 2: seal.signatures[2]}
    assert with_signatures(swapped) == [
        ("seal", f"the signature of validator {i} is not its own") for i in (0, 1)
    ]
    assert with_signatures({**seal.signatures, 9: seal.signatures[0]}) == [
        ("seal", "the signature of validator 9 is not its own")
    ]


def test_a_whole_new_chain_is_found_by_head_or_validators(
    original: Path, history: Consortium, tmp_path: Path
) -> None:
    other = small_chain(seed=6)
    play_round(other, 1)
    path = tmp_path / "other.jsonl"
    other.export(path)
    validators = [signer.address for signer in history.members.validators]
    assert audit(path).ok
    assert not audit(path, head=history.head_hash).ok
    assert not audit(path, validators=validators).ok
    assert audit(original, head=history.head_hash, validators=validators).ok
    arguments = ["--head", "0x" + history.head_hash.hex(), str(path)]
    assert main(arguments) == 1
    keys = ",".join("0x" + address.hex() for address in validators)
    assert main(["--validators", keys, str(original)]) == 0


def test_another_contract_is_not_taken_for_ours(
    lines: list[Line], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ledger.protocol import artifacts

    shipped = artifacts.bytecode()
    monkeypatch.setattr(artifacts, "bytecode", lambda: shipped[:-1] + b"\x00")
    (fault,) = audit_lines(lines, tmp_path / "chain.jsonl")
    assert fault == (
        "line 2, block 1",
        "the contract created is not the one shipped with this package",
    )


def test_a_contract_that_computes_otherwise_than_the_model_is_found(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def generous(standing: Standing, rule: reputation.Rule) -> Standing:
        return standing

    monkeypatch.setattr(reputation, "rejected", generous)
    report = audit(original)
    assert report.faults[0].place == "block 11, finalize"
    assert report.faults[0].fault.startswith("reputations moved [(0, 1000000000000000000, 5")
    assert any(fault.place == "line 12, block 11" for fault in report.faults)


def test_a_witness_that_reads_signatures_otherwise_is_found(
    original: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from ledger.audit import membership

    monkeypatch.setattr(membership, "recover", lambda digest, signature: None)
    places = {fault.place.split(", ")[-1] for fault in audit(original).faults}
    assert places == {
        "register",
        "commit_batch",
        "attest_shares",
        "record_aggregate",
        "attest_batch",
        "reinstate",
        "seal",
    }


def test_an_export_in_the_middle_of_a_round_passes(tmp_path: Path) -> None:
    client = small_chain(seed=7)
    client.attest_initial(MODEL, GOOD)
    client.open_round(1, MODEL)
    path = tmp_path / "chain.jsonl"
    client.export(path)
    report = audit(path)
    assert report.ok
    assert [record.status for record in report.rounds] == ["accepted", "open"]
    assert [child.name for child in tmp_path.iterdir()] == ["chain.jsonl"]


def test_lines_are_json_with_one_spelling(original: Path) -> None:
    for raw in original.read_bytes().splitlines(keepends=True):
        fields = json.loads(raw)
        assert raw == json.dumps(fields, sort_keys=True, separators=(",", ":")).encode() + b"\n"
    assert audit_module.__doc__ is not None


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--head", "0x1234"], "--head must be 0x and 64 hexadecimal digits; got '0x1234'"),
        (["--head", ""], "--head must be 0x and 64 hexadecimal digits; got ''"),
        (["--validators", "zz"], "--validators must be 0x and 40 hexadecimal digits; got 'zz'"),
        (["--validators", "0x12,"], "--validators must be 0x and 40 hexadecimal digits"),
    ],
)
def test_a_mistyped_hash_or_address_is_refused_before_the_audit(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main([*arguments, "no-such-file"])
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("name", ["none.jsonl", "."])
def test_a_file_that_cannot_be_read_fails_the_audit(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([str(tmp_path / name)]) == 1
    assert "cannot be read" in capsys.readouterr().out
