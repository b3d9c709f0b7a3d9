"""The cookbook, followed literally: every block in its file, and all of them tried."""

from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from secure_fl.settings.config import load_config
from tests.docs.test_examples import Block, blocks, commands, overrides
from tests.support import warm

PAGE = "docs/cookbook.md"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("cookbook")
    for block in python():
        assert block.file is not None
        (place / block.file).write_text(block.text, encoding="utf-8")
    return place


def python() -> list[Block]:
    return [block for block in blocks(PAGE) if block.language == "python"]


def test_there_are_five_of_each() -> None:
    assert sum("@attack\n" in block.text for block in python()) == 5
    rules = [block for block in python() if "@rule\n" in block.text or "stages" in block.text]
    assert len([block for block in rules if block.file != "try_all.py"]) == 5
    assert all(block.text.count("\n") < 50 for block in python() if block.file != "try_all.py")


def test_all_of_them_work(folder: Path) -> None:
    """Checked as what ships is, and run against each other on one federation."""
    done = warm.run(["try_all.py"], folder)
    assert done.returncode == 0, done.stderr
    told = re.findall(r"^(\w+) +accuracy (0\.\d\d|1\.00)$", done.stdout, re.MULTILINE)
    assert [name for name, _ in told] == [
        *("MislabelExtremes", "CrowdEdge", "OneWay", "Uphill", "GreyStripes")
    ]


def test_its_commands_are_accepted(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(folder)
    before = set(sys.modules)
    runs = [words for words in commands(PAGE) if words[:2] == ["secure-fl", "run"]]
    assert runs
    for words in runs:
        load_config(overrides(words))
    for name in set(sys.modules) - before:
        if (folder / f"{name}.py").exists():
            del sys.modules[name]
