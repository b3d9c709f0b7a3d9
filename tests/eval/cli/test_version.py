"""The version, Python's own switches, and which Pythons the package is for."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from eval.cli.main import main

ROOT = Path(__file__).resolve().parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]

CARELESS = """
from dataclasses import dataclass
from attacks import Attack, attack
from attacks.checks import check_attack

@attack
@dataclass(frozen=True)
class Careless(Attack):
    def craft(self, honest, own, view):
        return own / 0

try:
    check_attack(Careless)
except AssertionError as error:
    print("caught:", error)
"""


def stripped(*arguments: str) -> str:
    """Output of a Python that drops docstrings and `assert`."""
    done = subprocess.run(
        [sys.executable, *arguments],
        env=os.environ | {"PYTHONOPTIMIZE": "2"},
        capture_output=True,
        text=True,
        timeout=120,
        check=True,
    )
    return done.stdout


def test_it_says_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--version"])
    assert ended.value.code == 0
    assert capsys.readouterr().out == f"secure-fl {PROJECT['version']}\n"


def test_names_are_described_without_docstrings(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["list"]) == 0
    listed = capsys.readouterr().out
    assert stripped("-c", "import sys; from eval.cli.main import main; main(['list'])") == listed
    assert re.search(r"^  alie +Shift the honest mean", listed, re.MULTILINE)


def test_checks_of_attacks_hold_without_assert() -> None:
    assert stripped("-c", CARELESS).startswith("caught: among 1 hospitals, 1 of them malicious")


def test_the_readme_names_the_pythons_that_the_package_takes() -> None:
    least, beyond = re.fullmatch(r">=3\.(\d+),<3\.(\d+)", PROJECT["requires-python"]).groups()
    named = [f"3.{minor}" for minor in range(int(least), int(beyond))]
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    sentence = readme.split("Both need Python ")[1].split(" (")[0]
    assert re.findall(r"3\.\d+", sentence) == named
    tested = f"(3, {least}) <= sys.version_info < (3, {beyond})"
    assert tested in (ROOT / "Makefile").read_text(encoding="utf-8")
    assert (3, int(least)) <= sys.version_info[:2] < (3, int(beyond))
