"""Every example in the documentation runs as it stands, and every command in it is accepted."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import pytest

from secure_fl.settings.config import load_config
from tests.support import sample_run, warm

ROOT = Path(__file__).resolve().parents[2]
PAGES = ("README.md", "docs/extending.md", "docs/reproducing.md", "docs/results.md")
TEXTS = (*PAGES, "docs/protocol.md", "docs/ledger.md", "docs/threat-model.md")
FENCE = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.MULTILINE | re.DOTALL)
FLAGS_WITH_VALUE = ("--out", "--resume", "--allow")


class Block(NamedTuple):
    """One fenced block: its language and its text without the fence's indentation."""

    language: str
    text: str

    @property
    def file(self) -> str | None:
        """Name in a first line `# file: NAME`, for blocks that are modules."""
        match = re.match(r"# file: (\S+)\n", self.text)
        return match[1] if match else None


def blocks(page: str) -> list[Block]:
    text = (ROOT / page).read_text(encoding="utf-8")
    found = []
    for indent, language, body in FENCE.findall(text):
        lines = [line.removeprefix(indent) for line in body.splitlines(keepends=True)]
        found.append(Block(language, "".join(lines)))
    assert text.count("```") == 2 * len(found), f"{page}: a fence without a language or an end"
    return found


def commands(page: str) -> list[list[str]]:
    """Words of each shell command, comments dropped."""
    lines = [line for b in blocks(page) if b.language == "sh" for line in b.text.splitlines()]
    return [words for line in lines if (words := shlex.split(line, comments=True))]


def overrides(words: list[str]) -> list[str]:
    """Settings among the arguments of `secure-fl run`, flags dropped."""
    settings, rest = [], iter(words[2:])
    for word in rest:
        if word in FLAGS_WITH_VALUE:
            next(rest)
        elif not word.startswith("--"):
            settings.append(word)
    return settings


@pytest.mark.parametrize("page", ["README.md", "docs/extending.md"])
def test_python_examples_run(page: str, tmp_path: Path) -> None:
    """Each page's blocks run in order in one folder, each in a process of its own."""
    sample_run.write(tmp_path / "runs" / "sample", sample_run.rows(attacks=("none", "backdoor")))
    python = [block for block in blocks(page) if block.language == "python"]
    assert python
    for number, block in enumerate(python):
        path = tmp_path / (block.file or f"example_{number}.py")
        path.write_text(block.text, encoding="utf-8")
        done = warm.run([str(path)], tmp_path)
        assert done.returncode == 0, f"{page}, block {number}:\n{block.text}\n{done.stderr}"


def test_the_attack_example_is_under_30_lines() -> None:
    for page in ("README.md", "docs/extending.md"):
        attacks = [b for b in blocks(page) if b.file and "@attack" in b.text]
        assert attacks, page
        assert all(len(b.text.splitlines()) < 30 for b in attacks)


@pytest.mark.parametrize("page", PAGES)
def test_documented_settings_are_accepted(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for block in blocks("docs/extending.md") + blocks("README.md"):
        if block.file:
            (tmp_path / block.file).write_text(block.text, encoding="utf-8")
        if block.language == "yaml":
            (tmp_path / "mine.yaml").write_text(block.text, encoding="utf-8")
    runs = [words for words in commands(page) if words[:2] == ["secure-fl", "run"]]
    assert runs
    for words in runs:
        load_config(overrides(words))


@pytest.mark.parametrize("page", TEXTS)
def test_named_files_exist(page: str) -> None:
    """Paths in backticks and relative links lead somewhere."""
    text = (ROOT / page).read_text(encoding="utf-8")
    named = re.findall(r"`((?:configs|docs|secure_fl|attacks|eval|ledger|tests)/[\w./-]*)`", text)
    linked = [t for t in re.findall(r"\]\(([^)#]+)\)", text) if "://" not in t]
    for target in named:
        assert (ROOT / target).exists(), target
    for target in linked:
        assert ((ROOT / page).parent / target).exists(), target


def test_every_experiment_file_is_documented() -> None:
    text = (ROOT / "docs/reproducing.md").read_text(encoding="utf-8")
    shipped = {path.stem for path in (ROOT / "configs" / "experiment").glob("*.yaml")}
    documented = set(re.findall(r"experiment=(\w+)", text))
    assert documented <= shipped
    assert {name for name in shipped if name.startswith(("table", "fig"))} <= documented


def test_make_targets_in_the_readme_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for words in commands("README.md"):
        if words[0] == "make":
            assert re.search(rf"^{words[1]}:", makefile, re.MULTILINE), words
