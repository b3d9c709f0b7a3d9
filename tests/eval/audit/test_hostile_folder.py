"""Reading a folder from a stranger runs nothing that stands in it, and leaves it nowhere."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from eval.cli import main as cli
from eval.jobs.manifest import write_manifest
from secure_fl.files import sha256
from tests.support import tiny_job

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
SETTINGS: dict[str, dict[str, Any]] = {
    "a rule that is a shell": {"rule": "os:system", "params": {"command": "touch sentinel"}},
    "a stage that is a program": {
        "rule": {"stages": [{"subprocess:run": {"args": ["touch", "sentinel"]}}, "weighted_mean"]}
    },
    "a stage that is built in": {
        "rule": {"stages": [{"builtins:exec": {"source": "open('sentinel', 'w')"}}]}
    },
    "an attack in the current folder": {"name": "strange_code:Strange", "params": {}},
    "an attack that is a shell": {"name": "os:system", "params": {"command": "touch sentinel"}},
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


def rewrite(run: Path, change: Callable[[dict[str, Any]], None]) -> None:
    """Other settings, with all hashes made anew, as somebody does who knows the program."""
    path = run / "config.yaml"
    config = yaml.safe_load(path.read_text())
    change(config)
    path.write_text(yaml.safe_dump(config, sort_keys=False))
    environment = json.loads((run / "environment.json").read_text())
    environment["config_sha256"] = sha256(path.read_bytes())
    (run / "environment.json").write_text(json.dumps(environment))
    summary = json.loads((run / "summary.json").read_text())
    summary["config_sha256"] = environment["config_sha256"]
    (run / "summary.json").write_text(json.dumps(summary))
    write_manifest(run)


def put_in(name: str) -> Callable[[dict[str, Any]], None]:
    """A rule into the only defence, or an attack beside it."""
    settings = SETTINGS[name]

    def change(config: dict[str, Any]) -> None:
        if "rule" in settings:
            config["defences"][0].update({"params": {}} | settings)
        else:
            config["attacks"] = [settings]

    return change


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", SETTINGS)
def test_names_in_settings_are_not_executed(
    name: str, command: str, run: Path, tmp_path: Path, capsys: Capture
) -> None:
    rewrite(run, put_in(name))
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
    rewrite(run, lambda config: config["data"].update(path="${oc.env:A_PASSWORD}"))
    cli.main([*command.split(), str(run)])
    said = capsys.readouterr()
    written = "".join(path.read_text() for path in run.glob("*.html"))
    assert "sesame" not in said.out + said.err + written
    if command != "report":
        assert "data.path must be a plain value; got '${oc.env:A_PASSWORD}'" in said.out + said.err


def test_who_permits_a_name_has_it_imported(run: Path, tmp_path: Path, capsys: Capture) -> None:
    rewrite(run, put_in("an attack in the current folder"))
    assert cli.main(["run", "--resume", str(run), "--allow", "strange_code:Strange"]) == 0
    assert (tmp_path / "sentinel").exists()
    assert (run / "cells" / "fedavg--Strange").is_dir()
    assert cli.main(["audit", str(run), "--allow", "strange_code:Strange"]) == 0
    assert "settings   not compared" not in capsys.readouterr().out
    assert cli.main(["audit", str(run), "--allow", "os:system"]) == 2
    assert "is not marked with @rule or @stage" in capsys.readouterr().err


# --- files that are not plain -------------------------------------------------------------------

CELL = "cells/fedavg--none"


def _link(name: str, target: str = "victim") -> Callable[[Path], None]:
    """A link out of the folder, in the place of a file or folder."""

    def place(run: Path) -> None:
        path = run / name
        if path.is_dir():
            shutil.rmtree(path)
        path.unlink(missing_ok=True)
        path.symlink_to(run.parent.resolve() / target)

    return place


def _pipe(run: Path) -> None:
    (run / CELL / "rounds.jsonl").unlink()
    os.mkfifo(run / CELL / "rounds.jsonl")


def _socket(run: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(run / "closing"))


def _sparse(run: Path) -> None:
    with (run / "summary.json").open("r+b") as file:
        file.truncate(2**40)


def _deep(run: Path) -> None:
    folder = run / "a"
    for _ in range(12):
        folder /= "a"
    folder.mkdir(parents=True)


STRANGE_FILES: dict[str, tuple[Callable[[Path], None], str]] = {
    "a link where the report is written": (_link("report.html.partial"), "is a symbolic link"),
    "a link for the report": (_link("report.html"), "is a symbolic link"),
    "a link for the figures": (_link("figures", "victims"), "is a symbolic link"),
    "a link for the explorer": (_link("explorer.html.partial"), "is a symbolic link"),
    "a link for the manifest": (_link("manifest.json.partial"), "is a symbolic link"),
    "a link for the cells": (_link("cells", "victims"), "is a symbolic link"),
    "a link for settings": (_link("config.yaml"), "is a symbolic link"),
    "a link that leads nowhere": (_link("nowhere", "nothing"), "is a symbolic link"),
    "a pipe": (_pipe, "is no plain file"),
    "a socket": (_socket, "is no plain file"),
    "a file without an end": (_sparse, "is longer than"),
    "folders in folders": (_deep, "lies below more than 8 folders"),
    "a name that clears the screen": (
        lambda run: (run / "x\x1b[2J\x1b]0;owned\x07").mkdir(),
        r"x\x1b[2J\x1b]0;owned\x07 has a name with characters that cannot be printed",
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("name", STRANGE_FILES)
def test_what_is_no_plain_file_is_refused_before_anything_is_read(
    name: str, command: str, run: Path, capsys: Capture
) -> None:
    victim, victims = run.parent / "victim", run.parent / "victims"
    victim.write_text("untouched")
    victims.mkdir()
    make, fault = STRANGE_FILES[name]
    make(run)
    assert cli.main([*command.split(), str(run)]) == 2
    said = capsys.readouterr()
    assert fault in said.err
    assert said.err.count("\n") == 1
    assert "\x1b" not in said.out + said.err
    assert victim.read_text() == "untouched"
    assert list(victims.iterdir()) == []


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize(
    "name",
    ["summary.json", "manifest.json", "environment.json", f"{CELL}/cell.json", "config.yaml"],
)
def test_deep_nesting_is_a_fault_of_the_file(
    name: str, command: str, run: Path, capsys: Capture
) -> None:
    (run / name).write_text("[" * 100_000)
    assert cli.main([*command.split(), str(run)]) in (0, 1, 2)
    said = capsys.readouterr()
    read = {"report": "manifest.json", "run --resume": "manifest.json summary.json"}
    if name not in read.get(command, ""):
        assert "nested deeper" in said.out + said.err


ODD: list[tuple[str, tuple[str, ...], Any]] = [
    ("summary.json", ("rows", "malicious"), 5),
    ("summary.json", ("rows", "rounds_run"), "x"),
    ("summary.json", ("rows", "seed"), []),
    ("summary.json", ("rows", "auc"), []),
    ("summary.json", ("rows", "precision"), "x"),
    ("summary.json", ("rows", "malicious_fraction"), "x"),
    ("environment.json", ("created",), "\ud800"),
    ("environment.json", ("packages",), 5),
    (f"{CELL}/cell.json", ("malicious",), 1.5),
    (f"{CELL}/cell.json", ("seed",), []),
    (f"{CELL}/rounds.jsonl", ("seconds",), "x"),
    (f"{CELL}/rounds.jsonl", ("attack_success",), "x"),
    (f"{CELL}/rounds.jsonl", ("attack_success",), 10**79),
    (f"{CELL}/rounds.jsonl", ("mpc", "bytes_online"), []),
    (f"{CELL}/rounds.jsonl", ("f1",), []),
    (f"{CELL}/rounds.jsonl", ("round",), "\ud800"),
]


@pytest.mark.parametrize(("name", "keys", "value"), ODD)
def test_a_report_of_odd_records_is_drawn_or_refused_in_one_line(
    name: str, keys: tuple[str, ...], value: Any, run: Path, capsys: Capture
) -> None:
    path = run / name
    lines = path.read_text().splitlines() if name.endswith("l") else [path.read_text()]
    parsed = [json.loads(line) for line in lines]
    place = parsed[-1]
    for key in keys[:-1]:
        place = place[key][0] if isinstance(place[key], list) else place[key]
    place[keys[-1]] = value
    path.write_text("\n".join(json.dumps(each) for each in parsed) + "\n")
    status = cli.main(["report", str(run)])
    said = capsys.readouterr().err
    assert (status, said.count("\n")) in {(0, 0), (2, 1)}
    assert status == 0 or str(run) in said


def relabel(run: Path, label: str) -> None:
    """Another label for the method, wherever the run has it."""
    rewrite(run, lambda config: config["defences"][0].update(label=label))
    for name in (f"{CELL}/cell.json", "summary.json"):
        content = json.loads((run / name).read_text())
        for row in content.get("rows", [content]):
            row["label"] = label
        (run / name).write_text(json.dumps(content))
    write_manifest(run)


@pytest.mark.parametrize("label", [r"$\frac{1}{$", "costs $5 and $", r"\$ [red]x[/] %s {}", "[/x]"])
def test_labels_are_drawn_and_printed_as_they_stand(label: str, run: Path, capsys: Capture) -> None:
    relabel(run, label)
    assert cli.main(["report", str(run)]) == 0
    assert cli.main(["run", "--resume", str(run)]) == 0
    assert label in capsys.readouterr().out


@pytest.mark.parametrize("label", ["a\x1b[31mb", "a\nb", "a\u202eb", "x" * 201])
@pytest.mark.parametrize("command", COMMANDS)
def test_labels_that_cannot_be_printed_are_refused(
    label: str, command: str, run: Path, capsys: Capture
) -> None:
    relabel(run, label)
    cli.main([*command.split(), str(run)])
    said = capsys.readouterr()
    assert "must be at most 200 printable characters" in said.out + said.err
    assert "\x1b" not in said.out + said.err
    assert "\u202e" not in said.out + said.err
