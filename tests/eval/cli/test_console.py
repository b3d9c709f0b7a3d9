"""What a terminal shows: on any encoding, to a reader who goes away, with paths of any spelling."""

from __future__ import annotations

import io
import os
import re
import shlex
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import secure_fl
from eval.cli import main as cli
from eval.cli.console import Outliving, print_anywhere, quoted
from tests.support import cxr_files, tiny_job

Capture = pytest.CaptureFixture[str]
SMALL = [*tiny_job.SETTINGS, "rounds=1", "attacks=[]", "defences=[fedavg]"]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.mark.parametrize("name", ["r[red]x", "r[/x] b's", "-x josé $HOME"])
def test_folders_are_printed_as_they_are_called_and_commands_can_be_pasted(
    name: str, capsys: Capture
) -> None:
    assert cli.main(["run", *SMALL, f"--out={name}"]) == 0
    said = capsys.readouterr().out
    assert f"results in {name}\n" in said
    assert f"report: {Path(name) / 'report.html'}\n" in said
    pasted = re.search(r"^audit:  secure-fl (.*)$", said, re.MULTILINE)
    assert pasted is not None
    cli.main(shlex.split(pasted[1]))
    assert capsys.readouterr().out.startswith(f"audit of {name}: ")
    assert cli.main(["run", *SMALL, f"--out={name}"]) == 2
    resumed = capsys.readouterr().err.strip().partition("--resume ")[2]
    assert cli.main(["run", f"--resume={shlex.split(resumed)[0]}"]) == 0


def test_paths_in_settings_are_texts(tmp_path: Path, capsys: Capture) -> None:
    """Blanks, brackets, commas, equals signs, letters beyond ASCII; and the home folder."""
    cxr_files.write(tmp_path / "nih", patients=90)
    kept = tmp_path / "josé (1), a=b [x]" / "it's.npz"
    kept.parent.mkdir()
    assert cli.main(["prepare", "chestxray14", "nih", str(kept)]) == 0
    pasted = re.search(r"^run: secure-fl (.*)$", capsys.readouterr().out, re.MULTILINE)
    assert pasted is not None
    few = ["data.hospitals=2", "data.validation_fraction=0.2", "rounds=1", "train.epochs=1"]
    job = ["model=cnn", "defence=fedavg", "attacks=[]", *few, "--out", "job"]
    assert cli.main([*shlex.split(pasted[1]), *job]) == 0


def test_a_table_is_printed_on_a_console_of_any_encoding(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="latin-1")
    monkeypatch.setattr(sys, "stdout", screen)
    assert cli.main(["run", *SMALL, "--out", "job"]) == 0
    assert Path("job/report.html").exists()
    screen.flush()
    said = screen.buffer.getvalue().decode("latin-1")  # type: ignore[attr-defined]
    assert "FedAvg" in said
    assert "head:   0x" in said


def test_the_nearest_character_stands_for_one_that_is_missing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    screen = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
    monkeypatch.setattr(sys, "stdout", screen)
    print_anywhere()
    print("−0.5 × α … é \udc80")
    screen.flush()
    assert screen.buffer.getvalue() == b"-0.5 x a . ? ?\n"  # type: ignore[attr-defined]


def test_quoted_paths_are_no_options() -> None:
    assert quoted(Path("-x y")) == "'./-x y'"
    assert quoted(Path("runs/a")) == "runs/a"


PROGRAM = """
import sys
from eval.cli.console import Outliving
out = Outliving(sys.stdout, "nobody reads any more")
print("ready", file=sys.stdout, flush=True)
sys.stdin.read()
for line in range(3):
    print("x" * 100_000, file=out)
    out.flush()
print("done", file=sys.stderr)
"""


def test_a_job_outlives_the_reader_of_its_output() -> None:
    environment = {**os.environ, "PYTHONPATH": str(Path(secure_fl.__file__).parents[1])}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM],
        env=environment,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as program:
        assert program.stdin is not None
        assert program.stdout is not None
        assert program.stderr is not None
        assert program.stdout.readline() == "ready\n"
        program.stdout.close()  # as `| head -1` does
        program.stdin.close()
        assert program.stderr.read() == "nobody reads any more\ndone\n"
        assert program.wait(60) == 0


def test_what_is_read_is_left_as_it_is() -> None:
    screen = io.StringIO()
    out = Outliving(screen, "never said")
    print("text", file=out)
    out.flush()
    assert screen.getvalue() == "text\n"
    assert not out.isatty()
