"""docs/rules.md: its rules exist, and open and need what the table says."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from secure_fl.aggregation import build_rule, rule_names

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "rules.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| `(\w+)` \| [^|]+ \| [^|]+ \| ([^|]+) \| ([^|]+) \|$", PAGE, re.MULTILINE)


def test_the_table_has_rules_that_ship_once_each() -> None:
    named = [name for name, _, _ in ROWS]
    assert len(named) >= 25
    assert len(set(named)) == len(named)
    assert set(named) <= set(rule_names())


@pytest.mark.parametrize(("name", "needs", "opens"), ROWS, ids=[name for name, _, _ in ROWS])
def test_a_row_says_what_its_rule_needs_and_opens(name: str, needs: str, opens: str) -> None:
    *opened, update = build_rule(name).opens
    assert (", ".join(opened) or "nothing", update) == (opens, "update")
    each, _, beside = needs.partition("f + ")
    if not beside:
        assert needs == "1"
        assert all(stage.needs == 1 for stage in build_rule(name).stages)
        return
    for f in (0, 1, 5):
        stages = build_rule(name, num_malicious=f).stages
        assert max(stage.needs for stage in stages) == int(each) * f + int(beside)
