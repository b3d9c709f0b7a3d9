"""Cheating in real runs: node processes, a chain, an audit; the right party is found at fault."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from eval.audit.run import audit_run
from eval.report.explorer import explorer_html
from ledger.audit.chain_file import audit
from ledger.audit.report import render
from ledger.audit.round_record import RoundRecord
from ledger.members.keystore import PASSWORD_VARIABLE, write_members
from ledger.members.members import Members
from secure_fl.faults import AT_FAULT
from secure_fl.files import read_lines
from secure_fl.simulation.parties import node_keys
from secure_fl.simulation.secret import RunSecret, public_members_seed
from tests.support import tiny_job
from tests.support.anvil import CHAIN_ID, serving

# Round r carries out the r-th kind; the last round is an honest one.
KINDS = tuple(AT_FAULT)
ROUNDS = len(KINDS) + 1
HOSPITALS = 7
HOSPITAL, NODE = 4, 1
FAULTS = ",".join(
    f"{{round: {number}, kind: {kind}, hospital: {HOSPITAL}, node: {NODE}}}"
    for number, kind in enumerate(KINDS, start=1)
)
SETTINGS = (
    f"data.hospitals={HOSPITALS}",
    f"rounds={ROUNDS}",
    "defences=[{name: paper, rule: median, validation: none, reputation: false}]",
    "defence.backend=mpc",
    "attacks=[]",
)

pytestmark = pytest.mark.slow


class Job(NamedTuple):
    """A run's folder, its rows by round and what its chain holds of each round."""

    folder: Path
    rows: list[dict[str, Any]]
    chain: list[RoundRecord]


def job(folder: Path, *overrides: str) -> Job:
    tiny_job.run(folder, [*SETTINGS, *overrides])
    cell = folder / "cells" / "paper--none"
    record = audit(cell / "chain.jsonl")
    assert record.faults == []
    rounds = {each.round: each for each in record.rounds}
    return Job(folder, read_lines(cell / "rounds.jsonl"), [rounds[n] for n in range(1, ROUNDS + 2)])


@pytest.fixture(scope="module")
def control(tmp_path_factory: pytest.TempPathFactory) -> Job:
    """The same run without faults."""
    return job(tmp_path_factory.mktemp("control") / "run")


@pytest.fixture(scope="module", params=["each", "merkle"])
def faulty(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """All kinds, one a round, in both ways to commit."""
    folder = tmp_path_factory.mktemp("faulty") / "run"
    return job(folder, f"faults=[{FAULTS}]", f"ledger.mode={request.param}")


@pytest.mark.parametrize("kind", KINDS)
def test_the_right_party_is_at_fault_and_the_round_goes_on(faulty: Job, kind: str) -> None:
    number = KINDS.index(kind) + 1
    row, record = faulty.rows[number], faulty.chain[number - 1]
    guilty = AT_FAULT[kind]
    decided = [(HOSPITAL, NODE, guilty == "hospital")] if guilty else []
    assert record.disputes == decided
    said = {"hospital": HOSPITAL, "node": NODE, "at_fault": guilty, "reason": ""}
    assert row["disputes"] == ([said] if guilty else [])
    # The hospital counts if the contract found that the node lied; else it sits the round out.
    counts = guilty == "node"
    everybody = list(range(HOSPITALS))
    others = [h for h in everybody if h != HOSPITAL]
    players = everybody if counts else others
    assert record.status == row["status"] == "accepted"
    assert sorted(record.commitments) == everybody
    assert record.accepted == players
    assert record.rejected == ([HOSPITAL] if guilty == "hospital" else [])
    assert row["accepted"] == [True if h in players else None for h in everybody]
    assert row["unopened"] == ([] if counts else [HOSPITAL])
    assert list(row["refused"]) == ([] if counts else [str(HOSPITAL)])
    # The nodes' own statements differ: the other node opened all. A share under another root than
    # the committed one does open its root; that the hospital signed two is proven by these.
    assert record.opened[1 - NODE] == everybody
    states_all = counts or guilty == "hospital"
    assert sorted(record.opened[NODE]) == (everybody if states_all else others)


def test_who_lost_reputation(faulty: Job) -> None:
    changes = [
        (record.round, change.hospital, change.reason)
        for record in faulty.chain
        for change in record.changes
        if change.after < change.before
    ]
    assert changes == [(KINDS.index("wrong_share") + 1, HOSPITAL, "rejected")]


def test_the_reasons_are_told(faulty: Job) -> None:
    told = {
        kind: faulty.rows[number]["refused"].get(str(HOSPITAL))
        for number, kind in enumerate(KINDS, start=1)
    }
    assert "a share must be" in told.pop("short_share", "")
    assert told == {
        "wrong_share": "node 1: delivered under another root than is committed to",
        "useless_proof": "node 1: the share does not open its commitment",
        "withheld_share": "node 1 has no share",
        "unsigned_share": "node 1: the hospital did not sign what it delivered",
        "denial": None,
        "denial_without_receipt": "node 1 says that the share did not open",
    }


def test_the_audit_of_a_run_with_faults_passes(faulty: Job) -> None:
    report = audit_run(faulty.folder)
    assert report.findings == []
    assert report.measured is not None
    assert report.measured.figures > 0


def test_report_and_explorer_show_the_disputes(faulty: Job) -> None:
    text = render(audit(faulty.folder / "cells" / "paper--none" / "chain.jsonl"))
    page = explorer_html(faulty.folder)
    assert f"node {NODE} disputed the share of hospital {HOSPITAL}: hospital 4 is at fault" in text
    assert text.count(f"hospital {HOSPITAL}: node {NODE} is at fault") == 1
    assert page.count(f"node {NODE} and hospital {HOSPITAL} over a share") == 2
    assert f"node {NODE} attests that shares of hospitals {HOSPITAL} did not open" in page


def test_a_control_run_has_no_disputes(control: Job) -> None:
    for row, record in zip(control.rows[1:], control.chain, strict=False):
        assert row["disputes"] == row["unopened"] == []
        assert row["refused"] == {}
        assert record.disputes == []
        assert all(opened == list(range(HOSPITALS)) for opened in record.opened.values())
    assert audit_run(control.folder).findings == []


def test_a_lie_that_the_contract_sees_through_changes_nothing(control: Job, faulty: Job) -> None:
    """Where the node was at fault, the hospital's update counted: as if nobody had lied."""
    first = {kind: KINDS.index(kind) + 1 for kind in KINDS}
    for number, row in enumerate(faulty.rows[1 : ROUNDS + 1], start=1):
        same = row["accepted"] == control.rows[number]["accepted"]
        honest = number == ROUNDS or AT_FAULT[KINDS[number - 1]] == "node"
        assert same == honest, number
    assert first["denial"] < ROUNDS


@pytest.fixture
def tampered(faulty: Job, request: pytest.FixtureRequest) -> Iterator[Path]:
    path = faulty.folder / "cells" / "paper--none" / "rounds.jsonl"
    before = path.read_bytes()
    yield path
    path.write_bytes(before)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("disputes", []),
        ("unopened", []),
        ("disputes", [{"hospital": 4, "node": 1, "at_fault": ""}]),
    ],
)
def test_a_record_that_hides_a_dispute_fails_the_audit(
    tampered: Path, key: str, value: Any, faulty: Job
) -> None:
    lines = tampered.read_text().splitlines()
    row = json.loads(lines[1])
    row[key] = value
    lines[1] = json.dumps(row, sort_keys=True, separators=(",", ":"))
    tampered.write_text("\n".join(lines) + "\n")
    findings = audit_run(faulty.folder, measures=False).findings
    fact = "committed" if key == "unopened" else "disputes"
    assert any(f"line 2, {fact}" in finding.place for finding in findings)


def test_the_public_seed_gives_nobodys_key(faulty: Job) -> None:
    config = tiny_job.config(*SETTINGS)
    seats = audit(faulty.folder / "cells" / "paper--none" / "chain.jsonl").seats
    derived = Members.simulated(public_members_seed(config), HOSPITALS, 2, 3)
    for role, addresses in seats.items():
        assert addresses
        guessed = {signer.address for signer in derived.of_role(role)}
        assert guessed.isdisjoint(addresses), role


def test_no_key_stands_in_the_folder(tmp_path: Path) -> None:
    repeat = [*SETTINGS, "rounds=1", "repeatable_secrets=true"]
    config = tiny_job.config(*repeat)
    folder, secret = tiny_job.run(tmp_path / "run", repeat), RunSecret(config)
    content = b"".join(p.read_bytes() for p in folder.rglob("*") if p.is_file())
    assert str(secret.members_seed()).encode() not in content
    for key in node_keys(config, 2, secret):
        assert not isinstance(key, Path)
        assert key.address.hex().encode() in content
        assert key.secret not in content
        assert key.secret.hex().encode() not in content


def test_nodes_sign_with_keystore_keys_for_a_contract_on_an_evm_node(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each node's process reads its own file; the disputes are decided on the other chain."""
    monkeypatch.setenv(PASSWORD_VARIABLE, "secret words")
    keys = tmp_path / "keys"
    members = Members.simulated(77, HOSPITALS, 2, 3)
    write_members(members, keys, "secret words", work_factor=2)
    with serving(tmp_path) as node:
        node.fund(members.coordinator.address)
        place = [f"ledger.url={node.url}", f"ledger.chain_id={CHAIN_ID}", f"ledger.keystore={keys}"]
        cheats = "{round: 1, kind: wrong_share, hospital: 3}, {round: 2, kind: denial, hospital: 4}"
        settings = [*SETTINGS, *place, f"faults=[{cheats}]", "rounds=2"]
        folder = tiny_job.run(tmp_path / "run", settings)
        assert audit_run(folder, measures=False).findings == []
    rows = read_lines(folder / "cells" / "paper--none" / "rounds.jsonl")
    decided = [[(d["hospital"], d["at_fault"]) for d in row["disputes"]] for row in rows[1:]]
    assert decided == [[(3, "hospital")], [(4, "node")]]
    chain = (folder / "cells" / "paper--none" / "chain.jsonl").read_text()
    assert all(signer.address.hex() in chain for signer in members.of_role(3))
