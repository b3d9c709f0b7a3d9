"""Reading a folder from a stranger runs nothing that stands in it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from eval import cli
from eval.manifest import write_manifest
from secure_fl.runfolder import sha256
from tests.eval import tiny_job

Capture = pytest.CaptureFixture[str]
# Imported, or made from `${...}`, it would leave its trace.
OWN_CODE = """
import pathlib
pathlib.Path("sentinel").touch()
from dataclasses import dataclass
from attacks import Attack, attack

@attack
@dataclass(frozen=True)
class Strange(Attack):
    \"\"\"Send nothing but zeros.\"\"\"

    def craft(self, honest, own, view):
        return 0 * own
"""
FEDAVG, NO_ATTACK = "rule: mean", "attacks: []"
SETTINGS = {
    "a rule that is a shell": (
        FEDAVG + "\n  params: {}",
        "rule: os:system\n  params: {command: touch sentinel}",
    ),
    "a stage that is a program": (
        FEDAVG,
        "rule: {stages: [{'subprocess:run': {args: [touch, sentinel]}}, weighted_mean]}",
    ),
    "a stage that is built in": (
        FEDAVG,
        "rule: {stages: [{'builtins:exec': {source: 'open(\"sentinel\", \"w\")'}}]}",
    ),
    "an attack in the current folder": (
        NO_ATTACK,
        "attacks:\n- name: strange_code:Strange\n  params: {}",
    ),
    "an attack that is a shell": (
        NO_ATTACK,
        "attacks:\n- name: os:system\n  params: {command: touch sentinel}",
    ),
}
COMMANDS = ["audit", "report", "run --resume"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("jobs") / "job"
    return tiny_job.run(folder, ["rounds=1", "attacks=[]", "defences=[fedavg]"])


@pytest.fixture
def run(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The stranger's folder; beside it a file that must not be imported."""
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("A_PASSWORD", "sesame")
    monkeypatch.setattr(os, "cpu_count", lambda: 1)  # chains are executed in this process
    (tmp_path / "strange_code.py").write_text(OWN_CODE)
    yield Path(shutil.copytree(finished, "stranger"))
    signal.signal(signal.SIGTERM, before)


def rewrite(run: Path, old: str, new: str) -> None:
    """Other settings, with all hashes made anew, as somebody does who knows the program."""
    path = run / "config.yaml"
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
    environment = json.loads((run / "environment.json").read_text())
    environment["config_sha256"] = sha256(path.read_bytes())
    (run / "environment.json").write_text(json.dumps(environment))
    summary = json.loads((run / "summary.json").read_text())
    summary["config_sha256"] = environment["config_sha256"]
    (run / "summary.json").write_text(json.dumps(summary))
    write_manifest(run)


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_names_in_settings_are_not_executed(
    name: str, command: str, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    rewrite(run, *SETTINGS[name])
    shutil.rmtree(run / "cells" / "fedavg--none")  # or there is nothing to resume
    status = cli.main([*command.split(), str(run)])
    said = capsys.readouterr()
    assert not (tmp_path / "sentinel").exists()
    if command != "report":  # which does not look at rules and attacks
        assert status != 0
        assert "was not permitted: --allow" in said.out + said.err


@pytest.mark.parametrize("command", COMMANDS)
def test_settings_look_nothing_up_in_the_readers_environment(
    command: str, run: Path, capsys: Capture
) -> None:
    rewrite(run, "  path: null", "  path: '${oc.env:A_PASSWORD}'")
    cli.main([*command.split(), str(run)])
    said = capsys.readouterr()
    written = "".join(path.read_text() for path in run.glob("*.html"))
    assert "sesame" not in said.out + said.err + written
    if command != "report":
        assert "data.path must be a plain value; got '${oc.env:A_PASSWORD}'" in said.out + said.err


def test_who_permits_a_name_has_it_imported(run: Path, tmp_path: Path, capsys: Capture) -> None:
    rewrite(run, *SETTINGS["an attack in the current folder"])
    assert cli.main(["run", "--resume", str(run), "--allow", "strange_code:Strange"]) == 0
    assert (tmp_path / "sentinel").exists()
    assert (run / "cells" / "fedavg--Strange").is_dir()
    assert cli.main(["audit", str(run), "--allow", "strange_code:Strange"]) == 0
    assert "settings   not compared" not in capsys.readouterr().out
    assert cli.main(["audit", str(run), "--allow", "os:system"]) == 2
    assert "is not marked with @attack" in capsys.readouterr().err
