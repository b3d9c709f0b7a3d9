"""The threat model's table of openings is what the rules declare, and its tests exist."""

from __future__ import annotations

import math
import re
from pathlib import Path

import pytest

from secure_fl.aggregation import build_rule, rule_names
from secure_fl.aggregation.ops import FRACTION_BITS

ROOT = Path(__file__).resolve().parents[2]
PAGE = (ROOT / "docs" / "threat-model.md").read_text(encoding="utf-8")


def table(title: str) -> dict[str, list[str]]:
    """Rows of the table under a heading: names in the first cell, names in the second."""
    section = PAGE.split(f"## {title}\n")[1].split("\n## ")[0]
    rows = [line.split("|")[1:3] for line in section.splitlines() if line.startswith("| `")]
    return {left.strip(" `"): re.findall(r"`(\w+)`", right) for left, right in rows}


def test_the_table_of_openings_is_what_rules_declare() -> None:
    declared = {name: list(build_rule(name).opens) for name in rule_names()}
    assert table("What is opened") == declared


def test_shapes_of_openings_are_as_stated() -> None:
    """`update` has d numbers, every other opening one bit a hospital."""
    for name in rule_names():
        for opening in build_rule(name).declaration(hospitals=7, dim=3):
            assert opening.shape == ((3,) if opening.name == "update" else (7,))


@pytest.mark.parametrize("max_abs", [2**-8, 0.75, 1.0, 1.5, 2.0, 128.0, 2.0**14])
def test_the_width_is_as_stated(max_abs: float) -> None:
    rule = build_rule("median", max_abs=max_abs)
    assert rule.bits == 17 + math.ceil(math.log2(max_abs))
    power = 2.0 ** math.ceil(math.log2(max_abs))
    assert 2.0 ** (rule.bits - 1 - FRACTION_BITS) == power == rule.limit


def test_rules_without_a_range_are_the_ones_named() -> None:
    unbounded = {name for name in rule_names() if build_rule(name).max_abs is None}
    assert unbounded == {"mean", "weighted_mean", "mean_by_samples"}
    assert "`mean`, `weighted_mean` and `mean_by_samples` are no defence" in PAGE


def test_named_files_exist() -> None:
    named = set(re.findall(r"`((?:tests|secure_fl|docs)/[\w./-]*)`", PAGE))
    named |= {f"docs/{link}" for link in re.findall(r"\]\(([\w.-]+\.md)\)", PAGE)}
    assert len(named) >= 6
    for path in named:
        assert (ROOT / path).exists(), path


def test_every_sentence_of_the_table_names_tests_that_exist() -> None:
    section = PAGE.split("## Sentence, mechanism, test\n")[1].split("\n## ")[0]
    rows = [line.strip("|").split(" | ") for line in section.splitlines() if line[:2] == "| "]
    assert len(rows) > 30
    for row in rows[1:]:  # without the heading
        assert len(row) == 3, row[0]
        sentence, _, tests = (cell.strip() for cell in row)
        assert sentence.endswith("."), sentence
        named = re.findall(r"`([^`]*)`", tests)
        assert named, sentence
        for name in named:
            path, _, function = name.partition("::")
            source = (ROOT / path).read_text(encoding="utf-8")
            assert re.search(rf"^def {function}\(", source, re.MULTILINE), name
    assert len({row[0] for row in rows}) == len(rows)


def test_how_to_report_a_fault_is_told() -> None:
    page = (ROOT / "SECURITY.md").read_text(encoding="utf-8")
    for heading in ("How to report a fault", "Supported versions", "What is in scope"):
        assert f"\n## {heading}\n" in page
    for link in re.findall(r"\]\(([\w./-]+)\)", page):
        assert (ROOT / link).exists(), link


def test_the_readme_agrees() -> None:
    """Each of the ten lines has its counterpart here."""
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    section = readme.split("## Threat model in ten lines\n")[1].split("\n## ")[0]
    lines = re.findall(r"^(\d+)\. ", section, re.MULTILINE)
    assert [int(number) for number in lines] == list(range(1, 11))
    for phrase in ("semi-honest", "insecure_preprocessing"):
        assert phrase in section
        assert phrase in PAGE
