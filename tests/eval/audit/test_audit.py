"""The audit passes on what a run wrote, and names the place of whatever was changed since."""

from __future__ import annotations

import hashlib
import json
import os
import random
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from eval.audit.run import Outcome, RunAudit, audit_run, describe
from eval.cli import main as cli
from eval.jobs.manifest import job_head, listed_files, write_manifest
from eval.report.report import write_report
from ledger.audit.chain_file import audit
from ledger.audit.report import AuditReport
from secure_fl.errors import InputError
from secure_fl.files import canonical_json, sha256
from secure_fl.simulation.folder import records_digest
from secure_fl.simulation.round import result_hash
from tests.support import tiny_job

CHAINED, PLAIN = "cells/paper--backdoor", "cells/fedavg--backdoor"


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tiny_job.run(tmp_path_factory.mktemp("job") / "run")


@pytest.fixture
def run(original: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "run"))


@cache
def _replayed(content_sha256: str, path: Path) -> AuditReport:
    return audit(path)


def replay(path: Path) -> AuditReport:
    """The real audit of a chain, kept for files with the same content."""
    if not path.exists():
        return audit(path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    kept = Path(os.environ["PYTEST_CHAINS"]) / f"{digest}.jsonl"
    if not kept.exists():
        shutil.copyfile(path, kept)
    return _replayed(digest, kept)


@pytest.fixture(scope="module", autouse=True)
def _chains(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTEST_CHAINS", str(tmp_path_factory.mktemp("chains")))
        yield


def quick(run: Path, **options: Any) -> RunAudit:
    """Audit without measuring; chains with known content are not executed twice."""
    return audit_run(run, measures=False, replay=replay, **options)


def places(report: RunAudit) -> list[str]:
    return [finding.place for finding in report.findings]


def edit_json(path: Path, change: Callable[[Any], None]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content, indent=2) + "\n")


def edit_line(path: Path, line: int, change: Callable[[Any], None]) -> None:
    rows = [json.loads(text) for text in path.read_text().splitlines()]
    change(rows[line])
    path.write_text("".join(canonical_json(row) + "\n" for row in rows))


def forge(run: Path) -> None:
    """What somebody does who knows the program: new manifest, new job chain."""
    write_manifest(run)


def test_an_untouched_run_passes_in_fresh_processes(original: Path) -> None:
    report = audit_run(original, processes=2)
    assert report.findings == []
    assert set(report.chains) == {"paper--none", "paper--backdoor"}
    assert all(chain.ok and chain.blocks > 10 for chain in report.chains.values())
    assert "0x" + report.head == job_head(original)
    assert report.measured is not None
    assert report.measured.figures > 60
    assert report.measured.largest_gap == 0.0
    assert [each.what for each in report.unchecked] == ["pages and figures"]
    assert report.outcome is Outcome.INCOMPLETE


def test_the_description_says_what_rests_on_what(original: Path) -> None:
    text = describe(quick(original), verbose=True)
    assert text.startswith(f"audit of {original}: INCOMPLETE, 2 thing(s) not checked; all else")
    assert "2 of 4 cells, with a ledger" in text
    assert "2 cells without a ledger" in text
    assert "  not checked: measures: --no-measure\n" in text
    assert "Round 1 (blocks" in text  # verbose: what each chain recorded


def _covered() -> list[str]:
    cells = [f"cells/{d}--{a}" for d in ("fedavg", "paper") for a in ("none", "backdoor")]
    names = ["cell.json", "closing.json", "rounds.jsonl", "openings.jsonl"]
    names += [f"models/{m}.npy" for m in ("round-000", "round-001", "round-002", "final")]
    listed = [f"{cell}/{name}" for cell in cells for name in names]
    listed += [f"{cell}/chain.jsonl" for cell in cells if "paper" in cell]
    return [*listed, "config.yaml", "environment.json", "summary.json"]


def test_every_file_is_covered(original: Path) -> None:
    assert sorted(_covered()) == list(listed_files(original))


@pytest.mark.parametrize("name", [*_covered(), "manifest.json", "chain.jsonl"])
def test_any_changed_byte_is_found_and_named(name: str, run: Path) -> None:
    """First, last and random bytes of each file, one random bit of each flipped."""
    path, rng = run / name, random.Random(name)
    content = path.read_bytes()
    chain = name.endswith("chain.jsonl")  # executing it takes longer
    positions = [rng.randrange(len(content)) for _ in range(2 if chain else 4)]
    for position in {0, len(content) - 1, *positions}:
        changed = bytearray(content)
        changed[position] ^= 1 << rng.randrange(8)
        path.write_bytes(changed)
        report = quick(run)
        assert any(place.startswith(name) for place in places(report)), (position, report.findings)
    path.write_bytes(content)
    assert quick(run).ok


def test_lines_and_figures_are_named(run: Path) -> None:
    edit_line(run / PLAIN / "rounds.jsonl", 1, lambda row: row.update(accuracy=0.99))
    edit_json(run / "summary.json", lambda s: s["rows"][1].update(accuracy=0.5))
    found = dict(quick(run).findings)
    assert "line 2 does not have" in found[f"{PLAIN}/rounds.jsonl"]
    assert found["summary.json, row 2 (fedavg--backdoor), accuracy"].startswith("is 0.5;")


@pytest.mark.parametrize("name", _covered()[::3])
def test_a_missing_file_is_named(name: str, run: Path) -> None:
    (run / name).unlink()
    assert any(place.startswith(name) for place in places(quick(run)))


@pytest.mark.parametrize("name", ["manifest.json", "chain.jsonl"])
def test_a_missing_anchor_is_named(name: str, run: Path) -> None:
    (run / name).unlink()
    assert any(place.startswith(name) for place in places(quick(run)))


@pytest.mark.parametrize("name", ["extra.txt", f"{PLAIN}/models/round-009.npy", "cells/new/x.json"])
def test_an_extra_file_is_named(name: str, run: Path) -> None:
    (run / name).parent.mkdir(exist_ok=True)
    (run / name).write_bytes(b"1")
    report = quick(run)
    assert (name, "is not in the manifest") in [tuple(f) for f in report.findings]


def test_the_known_head_excludes_a_folder_made_anew(run: Path, tmp_path: Path) -> None:
    head = job_head(run)
    other = tiny_job.run(tmp_path / "other", ["seed=1"])
    assert quick(other).ok
    assert quick(run, head=head).ok
    assert quick(run, head=head.upper().replace("X", "x")).ok
    (finding,) = quick(other, head=head).findings
    assert finding.place == "chain.jsonl, head"


# --- a forger who writes manifest and job chain anew


def _checkpoint(cell: str) -> Callable[[Path], None]:
    def change(run: Path) -> None:
        path = run / cell / "models" / "round-001.npy"
        model = np.load(path)
        model[0] += 1
        np.save(path, model)

    return change


def _with_records(change: Callable[[list[Any], list[Any]], None], cell: str) -> Callable[..., None]:
    """Change rows and openings, then make all hashes among the records fit again."""

    def forge_records(run: Path) -> None:
        folder = run / cell
        rows = [json.loads(text) for text in (folder / "rounds.jsonl").read_text().splitlines()]
        opened = [json.loads(t) for t in (folder / "openings.jsonl").read_text().splitlines()]
        change(rows, opened)
        for row in rows[1:]:
            mine = [o for o in opened if o["round"] == row["round"]]
            row["result_sha256"] = result_hash(
                row["round"], row["accepted"], mine, row["update_sha256"]
            )
        for name, lines in (("rounds", rows), ("openings", opened)):
            text = "".join(canonical_json(row) + "\n" for row in lines)
            (folder / f"{name}.jsonl").write_text(text)
        digest = records_digest(rows, opened)
        edit_json(folder / "closing.json", lambda c: c.update(records_sha256=digest))

    return forge_records


def _both(key: str, value: Any, cell: str) -> Callable[[Path], None]:
    """Change a figure in the cell's file and in the summary."""

    def change(run: Path) -> None:
        edit_json(run / cell / "cell.json", lambda row: row.update({key: value}))
        name = cell.removeprefix("cells/")

        def in_summary(summary: Any) -> None:
            (row,) = (r for r in summary["rows"] if r["cell"] == name)
            row[key] = value

        edit_json(run / "summary.json", in_summary)

    return change


def _settings(run: Path) -> None:
    path = run / "config.yaml"
    path.write_text(path.read_text().replace("lr: 0.001", "lr: 0.002"))
    digest = sha256(path.read_bytes())
    edit_json(run / "summary.json", lambda s: s.update(config_sha256=digest))


def _flag(rows: list[Any], opened: list[Any]) -> None:
    rows[1]["accepted"][0] = not rows[1]["accepted"][0]


def _metric(rows: list[Any], opened: list[Any]) -> None:
    rows[2]["loss"] += 1e-9


def _opening(rows: list[Any], opened: list[Any]) -> None:
    opened[0]["shape"] = [3]


def _reputation(rows: list[Any], opened: list[Any]) -> None:
    rows[1]["reputation"][1] = 0.5


def _drop_chain(run: Path) -> None:
    (run / CHAINED / "chain.jsonl").unlink()
    _both("chain_head", None, CHAINED)(run)


def _swap_chains(run: Path) -> None:
    shutil.copyfile(run / "cells/paper--none/chain.jsonl", run / CHAINED / "chain.jsonl")


FORGERIES = {
    "checkpoint, chained": (_checkpoint(CHAINED), f"{CHAINED}/models/round-001.npy"),
    "checkpoint, plain": (_checkpoint(PLAIN), f"{PLAIN}/models/round-001.npy"),
    "accepted flag": (_with_records(_flag, CHAINED), f"{CHAINED}/rounds.jsonl line 2, accepted"),
    "metric": (_with_records(_metric, CHAINED), f"{CHAINED}/rounds.jsonl line 3, loss"),
    "opening": (_with_records(_opening, CHAINED), f"{CHAINED}/rounds.jsonl line 2, result_sha256"),
    "reputation": (
        _with_records(_reputation, CHAINED),
        f"{CHAINED}/rounds.jsonl line 2, reputation",
    ),
    "traffic": (_both("mpc_bytes_online", 7, CHAINED), f"{CHAINED}/cell.json, mpc_bytes_online"),
    "detection": (_both("honest_named", 0.9, CHAINED), f"{CHAINED}/cell.json, honest_named"),
    "malicious": (_both("malicious", [0, 1], CHAINED), f"{CHAINED}/cell.json, malicious"),
    "name": (_both("label", "ours", PLAIN), f"{PLAIN}/cell.json, label"),
    "settings": (_settings, f"{CHAINED}/rounds.jsonl line 1"),
    "chain taken away": (_drop_chain, f"{CHAINED}/cell.json, chain_head"),
    "another cell's chain": (_swap_chains, f"{CHAINED}/rounds.jsonl line 2, result_sha256"),
}


@pytest.mark.parametrize("kind", FORGERIES)
def test_a_new_manifest_and_job_chain_do_not_cover_a_change(kind: str, run: Path) -> None:
    change, place = FORGERIES[kind]
    head = job_head(run)
    change(run)
    forge(run)
    report = quick(run)
    assert place in places(report), report.findings
    assert "chain.jsonl, head" in places(quick(run, head=head))


@pytest.mark.parametrize("key", ["accuracy", "f1", "attack_success_raw", "drift"])
def test_a_forged_result_is_found_by_measuring(key: str, run: Path) -> None:
    """No chain holds a figure of the test rows of a cell without a ledger: the models do."""
    _both(key, 0.987, PLAIN)(run)
    forge(run)
    assert quick(run).ok
    report = audit_run(run, replay=replay)
    assert places(report) == [f"{PLAIN}/cell.json, {key}"]


def test_a_forged_round_without_a_ledger_is_found_by_measuring(run: Path) -> None:
    def better(rows: list[Any], opened: list[Any]) -> None:
        rows[1]["test_accuracy"] = 0.99

    _with_records(better, PLAIN)(run)
    forge(run)
    assert quick(run).ok
    assert places(audit_run(run, replay=replay)) == [f"{PLAIN}/rounds.jsonl line 2, test_accuracy"]


@pytest.mark.parametrize(
    "content", [b"", b"{}", b"[]", b"null", b"\xff", b'{"rows": 3}', b"[1]\n[2]\n"]
)
@pytest.mark.parametrize("name", ["summary.json", f"{CHAINED}/rounds.jsonl", f"{PLAIN}/cell.json"])
def test_nonsense_is_a_finding_not_a_crash(name: str, content: bytes, run: Path) -> None:
    (run / name).write_bytes(content)
    assert not quick(run).ok
    forge(run)
    assert not audit_run(run, replay=replay).ok


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"files": 3}', b'{"files": {"a": 1}}'])
def test_a_nonsense_manifest_is_a_finding(content: bytes, run: Path) -> None:
    (run / "manifest.json").write_bytes(content)
    assert any(place.startswith("manifest.json") for place in places(quick(run)))


def test_unreadable_settings_are_told(run: Path) -> None:
    (run / "config.yaml").write_text("rounds: many\n")
    report = quick(run)
    assert "config.yaml" in places(report)
    assert "rounds must be of type int" in describe(report)


# --- the command


def test_the_command_passes_and_fails(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_report(run)
    assert cli.main(["audit", str(run), "--head", job_head(run)]) == 0
    said = capsys.readouterr()
    assert "PASSED" in said.out
    chains = len(list(run.rglob("chain.jsonl")))
    assert said.err.count(f"of {chains} executed again") == chains
    path = run / PLAIN / "models" / "final.npy"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)
    assert cli.main(["audit", str(run), "--no-measure"]) == 1
    assert f"{PLAIN}/models/final.npy: does not have the hash" in capsys.readouterr().out


def test_a_folder_that_is_no_run_is_bad_input(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match="is not the folder of a run"):
        audit_run(tmp_path)
    assert cli.main(["audit", str(tmp_path / "none")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
