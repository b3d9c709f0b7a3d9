"""A whole run on an external node: settings, errors, a node that dies, resume, audit, explorer."""

from __future__ import annotations

import http.server
import re
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ledger
from eval.audit.run import audit_run, describe
from eval.cli import main as cli
from eval.jobs import grid, starting
from eval.jobs.progress import Silent
from eval.report.explorer import explorer_html
from ledger.chains.rpc import JsonRpc
from ledger.members.keystore import PASSWORD_VARIABLE, write_members
from ledger.members.members import ADMINISTRATOR, HOSPITAL, NODE, VALIDATOR, Members
from secure_fl import seeds
from secure_fl.simulation import consortium
from secure_fl.simulation.prepare import prepare
from tests.support import tiny_job
from tests.support.anvil import CHAIN_ID, Anvil, serving
from tests.support.forwarder import Forwarder
from tests.support.warm import Warm

pytestmark = pytest.mark.timeout(120)
CELL = "paper--none"
# One cell with a ledger.
ONE = ["defences=[paper]", "attacks=[]"]
PASSWORD = "correct horse battery staple"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Anvil]:
    with serving(tmp_path_factory.mktemp("node")) as node:
        yield node


def on(node: Anvil, *overrides: str) -> list[str]:
    """Settings of a tiny run on the node, with simulation keys."""
    place = [f"ledger.url={node.url}", f"ledger.chain_id={CHAIN_ID}"]
    return [*ONE, *place, "ledger.simulated_keys=true", *overrides]


def command(settings: list[str], folder: Path) -> list[str]:
    return ["run", *tiny_job.SETTINGS, *settings, "--out", str(folder)]


def passes(folder: Path) -> None:
    report = audit_run(folder)
    assert report.findings == []
    assert report.chains[CELL].node_blocks is not None


@pytest.fixture(scope="module")
def finished(node: Anvil, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_job.run(tmp_path_factory.mktemp("runs") / "run", on(node))


# ---- a run and its audit ----


def test_a_run_on_a_node_passes_its_audit(finished: Path) -> None:
    report = audit_run(finished)
    assert report.findings == []
    chain = report.chains[CELL]
    assert chain.node_blocks is not None
    assert [record.status for record in chain.rounds] == ["accepted"] * 3
    text = describe(report)
    assert "on a node  1 chain: " in text
    assert "on a node" not in describe(audit_run(tiny_like(finished)))


def tiny_like(finished: Path) -> Path:
    """The same run in process, beside the other."""
    folder = finished.with_name("here")
    return folder if folder.exists() else tiny_job.run(folder, ONE)


def test_the_models_are_those_of_a_run_in_process(finished: Path) -> None:
    """Where the ledger lies changes nothing that the federation does."""
    here = tiny_like(finished)
    names = sorted(path.name for path in (finished / "cells" / CELL / "models").iterdir())
    assert len(names) == 4
    for name in names:
        one, other = (run / "cells" / CELL / "models" / name for run in (finished, here))
        assert one.read_bytes() == other.read_bytes()


def test_one_changed_bit_is_named(
    finished: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = finished / "cells" / CELL / "chain.jsonl"
    raw = path.read_bytes()
    changed = bytearray(raw)
    changed[len(raw) // 2] ^= 1
    line = raw[: len(raw) // 2].count(b"\n") + 1
    path.write_bytes(changed)
    try:
        assert cli.main(["audit", str(finished), "--no-measure"]) == 1
    finally:
        path.write_bytes(raw)
    assert re.search(rf"cells/{CELL}/chain\.jsonl, line {line}[,:]", capsys.readouterr().out)
    assert audit_run(finished, measures=False).ok


def test_the_explorer_shows_the_nodes_chain(finished: Path) -> None:
    page = explorer_html(finished)
    chain = audit_run(finished, measures=False).chains[CELL]
    assert chain.node_blocks is not None
    first, last = chain.node_blocks
    assert f"blocks {first} to {last} of its chain" in page
    assert "0x" + chain.head.hex() in page
    for record in chain.rounds:
        assert "0x" + record.candidate.hex() in page
    assert page.count("<polyline") == 4


# ---- a node or a run that dies ----


class Killer(Silent):
    """Ends the node after the second round; it comes back with what it had after the first."""

    def __init__(self, node: Anvil) -> None:
        self.node = node
        self.kept = b""
        self.timer: threading.Timer | None = None

    def round_done(self, row: dict[str, Any]) -> None:
        if row["round"] == 1:
            self.kept = self.node.snapshot()
        if row["round"] == 2:
            self.node.kill(self.kept)
            self.timer = threading.Timer(0.5, self.node.start)
            self.timer.start()


def test_a_run_goes_on_when_the_node_comes_back(tmp_path: Path) -> None:
    node = Anvil(tmp_path)
    node.start()
    killer = Killer(node)
    try:
        config = tiny_job.config(*on(node, "ledger.patience=30"))
        federation = starting.start_job(config, tmp_path / "run", ["secure-fl", "run"])
        grid.run_job(config, federation, tmp_path / "run", killer)
        assert killer.timer is not None
        killer.timer.join()
    finally:
        node.kill()
    passes(tmp_path / "run")


@pytest.mark.slow
def test_a_run_that_was_killed_is_resumed_with_a_contract_of_its_own(
    node: Anvil, tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    # Nobody is suspended, so that all rounds can be played.
    arguments = command(on(node, "rounds=15", "ledger.floor=0.0"), folder)
    program = "import sys; from eval.cli.main import main; sys.exit(main(sys.argv[1:]))"
    process = Warm(["-c", program, *arguments])
    partial = folder / "cells" / f".{CELL}.partial" / "rounds.jsonl"
    give_up = time.monotonic() + 60
    while not (partial.exists() and partial.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None
        assert time.monotonic() < give_up
        time.sleep(0.01)
    process.kill()
    process.communicate()
    assert not (folder / "cells" / CELL).exists()
    config = starting.resume_job(folder)
    grid.run_job(config, prepare(config), folder, Silent())
    passes(folder)


# ---- a contract made before ----


def prepared(node: Anvil, *overrides: str) -> tuple[ledger.Consortium, str]:
    config = tiny_job.config(*on(node, *overrides))
    keys = Members.simulated(seeds.integer(config.seed, "keys"), 4, 2, 3)
    node.fund(keys.coordinator.address)
    client = ledger.connect(
        node.url, keys, chain_id=CHAIN_ID, parameters=config.ledger.build(), mode="each"
    )
    return client, "0x" + client.connection.address.hex()


def test_a_contract_made_before_serves_one_run(
    node: Anvil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    _, contract = prepared(node)
    given = on(node, f"ledger.contract={contract}")
    folder = tiny_job.run(tmp_path / "run", given)
    report = audit_run(folder)
    assert report.findings == []
    assert contract[2:] in (folder / "cells" / CELL / "chain.jsonl").read_text()
    # It has seen rounds now: neither another run nor the rest of this one can use it.
    assert cli.main(command(given, tmp_path / "again")) == 2
    assert "has seen 3 rounds, and a run begins with round 1" in capsys.readouterr().err
    assert not (tmp_path / "again").exists()
    (folder / "cells" / CELL).rename(tmp_path / "gone")
    assert cli.main(["run", "--resume", str(folder)]) == 2
    assert "a run that was cut off cannot go on" in capsys.readouterr().err
    assert list((folder / "cells").iterdir()) == []


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["ledger.growth=0.2"], "has other parameters than the settings under ledger"),
        (["data.hospitals=5"], "seats 4 hospital(s), not 5"),
        (["seed=1"], "as administrator 0, not 0x"),
        (
            ["attacks=[backdoor]"],
            "ledger.contract must be null where several cells have a ledger",
        ),
    ],
)
def test_a_contract_for_others_is_refused(
    overrides: list[str],
    words: str,
    node: Anvil,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    _, contract = prepared(node)
    settings = on(node, f"ledger.contract={contract}", *overrides)
    assert cli.main(command(settings, tmp_path / "run")) != 0
    assert words in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


# ---- clear errors, nothing half-written ----


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ("ledger.chain_id=1", f"serves chain {CHAIN_ID}, not chain 1;"),
        ("ledger.url=http://127.0.0.1:1", "no answer from http://127.0.0.1:1 within 1 s"),
        ("ledger.contract=0x" + "01" * 20, "no contract at 0x0101"),
    ],
)
def test_what_is_wrong_is_said_before_anything_is_written(
    change: str, words: str, node: Anvil, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    settings = on(node, "ledger.patience=1", change)
    assert cli.main(command(settings, tmp_path / "run")) == 1
    error = capsys.readouterr().err
    assert words in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_node_that_stays_away_ends_the_run_with_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    node = Anvil(tmp_path)
    node.start()

    class Ender(Silent):
        def round_done(self, row: dict[str, Any]) -> None:
            node.kill()

    monkeypatch.setattr("eval.jobs.progress.PlainLines", lambda *_: Ender())
    try:
        assert cli.main(command(on(node, "ledger.patience=0.5"), tmp_path / "run")) == 1
    finally:
        node.kill()
    error = capsys.readouterr().err
    assert "no answer from http://127.0.0.1" in error
    assert error.count("\n") == 1
    assert list((tmp_path / "run" / "cells").iterdir()) == []


# ---- keys and secrets ----


@pytest.fixture(scope="module")
def keystore(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Members]:
    """Keys that nobody can derive, for more members than the run has."""
    members = Members.fresh({ADMINISTRATOR: 2, HOSPITAL: 5, NODE: 3, VALIDATOR: 3}, threshold=2)
    folder = tmp_path_factory.mktemp("consortium") / "keys"
    write_members(members, folder, PASSWORD, work_factor=2)
    return folder, members


@pytest.fixture
def secret_url(node: Anvil) -> Iterator[str]:
    """The node behind an address with a user, a password and a key in its path."""
    Forwarder.target, Forwarder.lose = JsonRpc(node.url), set()
    seen: list[tuple[str, str]] = []

    class Noting(Forwarder):
        def do_POST(self) -> None:
            seen.append((self.path, self.headers["Authorization"]))
            super().do_POST()

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Noting) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://someone:sesame@127.0.0.1:{server.server_address[1]}/v3/OPENKEY"
        server.shutdown()
    # Both reached the node: "someone:sesame" in base 64.
    assert set(seen) == {("/v3/OPENKEY", "Basic c29tZW9uZTpzZXNhbWU=")}


def test_no_secret_is_in_the_runs_folder(
    node: Anvil,
    keystore: tuple[Path, Members],
    secret_url: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder, members = keystore
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    monkeypatch.setenv("OUR_NODE", secret_url)
    consortium._keystore.cache_clear()
    settings = [
        *ONE,
        "ledger.url=env:OUR_NODE",
        f"ledger.chain_id={CHAIN_ID}",
        f"ledger.keystore={folder}",
    ]
    # The coordinator has no funds yet: said with its address, before anything is written.
    assert cli.main(command(settings, tmp_path / "run")) == 1
    said = capsys.readouterr()
    address = members.coordinator.address.hex()
    assert f"the key 0x{address} holds 0 wei on chain {CHAIN_ID}" in said.err
    assert list(tmp_path.iterdir()) == []
    node.fund(members.coordinator.address)
    assert cli.main(command(settings, tmp_path / "run")) == 0
    said_then = capsys.readouterr()
    report = audit_run(tmp_path / "run")
    assert report.findings == []
    hospitals = [signer.address for signer in members.hospitals[:4]]
    assert report.chains[CELL].seats[2] == hospitals
    keys = [
        signer.secret.hex()
        for role in (members.administrators, members.hospitals, members.nodes, members.validators)
        for signer in role
    ]
    secrets = ["sesame", "OPENKEY", PASSWORD, members.coordinator.secret.hex(), *keys]
    texts = [said.out, said.err, said_then.out, said_then.err]
    files = [path for path in (tmp_path / "run").rglob("*") if path.is_file()]
    assert len(files) > 10
    texts += [path.read_bytes().decode("latin-1") for path in files]
    for secret in secrets:
        assert not any(secret in text for text in texts), secret


def test_a_keystore_with_too_few_keys_is_refused(
    node: Anvil,
    keystore: tuple[Path, Members],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv(PASSWORD_VARIABLE, PASSWORD)
    keys = ["ledger.simulated_keys=false", f"ledger.keystore={keystore[0]}"]
    for change, words in (
        ("data.hospitals=6", "must hold the keys of 6 hospitals; "),
        ("ledger.threshold=3", "threshold must be 1 to 2; got 3"),
    ):
        assert cli.main(command(on(node, *keys, change), tmp_path / "run")) == 2
        assert words in capsys.readouterr().err
    consortium._keystore.cache_clear()
    monkeypatch.delenv(PASSWORD_VARIABLE)
    assert cli.main(command(on(node, *keys), tmp_path / "run")) == 1
    assert f"variable {PASSWORD_VARIABLE} is not set" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
