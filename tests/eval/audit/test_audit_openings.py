"""What a record says was opened is held to what its rule declares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from eval.audit.openings import difference
from eval.audit.records import read_cell
from eval.audit.settings import check_against_settings
from eval.jobs.plan import plan
from secure_fl.aggregation import build_rule
from secure_fl.aggregation.openings import UNIT, digest
from tests.support import tiny_job

ROW = {"round": 1, "sha256": "a" * 64}


def _flags(name: str, *values: float) -> dict[str, Any]:
    return ROW | {"name": name, "shape": [len(values)], "unit": None, "value": list(values)}


def _update(d: int = 2, **change: Any) -> dict[str, Any]:
    values = [0.0] * d if d <= 64 else None
    row = ROW | {"name": "update", "shape": [d], "unit": UNIT, "value": values} | change
    return {k: v for k, v in row.items() if v is not None}


FOUR, NONE = (1.0, 0.0, 1.0, 1.0), (0.0,) * 4
ZERO = digest(torch.zeros(2))


@pytest.mark.parametrize(
    ("rule", "rows", "opened", "fault"),
    [
        ("median", 4, [_update()], ""),
        ("median", 0, [_update(sha256=ZERO)], ""),
        ("median", 0, [_update()], "hold an update of 0 hospitals; 1 are combined at least"),
        ("median", 4, [], "are 0; the rule opens 1"),
        ("median", 4, [_update(3)], "the rule declares ('update', (2,)"),
        ("median", 4, [_update(unit=1.0)], "the rule declares ('update', (2,)"),
        ("median", 4, [_update(), _update()], "are 2; the rule opens 1"),
        ("median", 4, [_flags("accepted", *FOUR), _update()], "are 2; the rule opens 1"),
        ("median", 4, [_update(sha256=None)], "without its hash"),
        ("median", 4, [_update(value=None)], "hold no value of 'update', 2 numbers"),
        ("median", 4, [_update(value=[0.0])], "hold 1 numbers of 'update', which has 2"),
        ("cosine_median", 4, [_flags("accepted", *FOUR), _update()], ""),
        ("cosine_median", 4, [_flags("accepted", *NONE), _update()], ""),
        ("cosine_median", 0, [_update(sha256=ZERO)], ""),
        ("cosine_median", 4, [_update()], "open 'update' for 2 hospitals; [4] were left"),
        ("cosine_median", 5, [_flags("accepted", *FOUR), _update()], "for 4 hospitals; [5] were"),
        ("cosine_median", 4, [_flags("used", *FOUR), _update()], "the rule declares ('accepted'"),
        ("guarded", 4, [_flags("accepted", *FOUR), _flags("used", *FOUR), _update()], ""),
        ("guarded", 4, [_flags("used", *FOUR), _flags("accepted", *FOUR), _update()], "declares"),
        ("guarded", 4, [_flags("accepted", *FOUR), _update()], "open 'update' for 2 hospitals"),
    ],
)
def test_openings_are_held_to_the_declaration(
    rule: str, rows: int, opened: list[dict[str, Any]], fault: str
) -> None:
    said = difference(opened, build_rule(rule), rows, 2)
    assert fault in said
    assert bool(said) == bool(fault)


@pytest.mark.parametrize(
    ("rows", "opened", "fault"),
    [
        (2, [_update(sha256=ZERO)], ""),
        (2, [_update()], "hold an update of 2 hospitals; 3 are combined at least"),
        (2, [_flags("accepted", 1.0, 1.0), _update()], "open 'accepted' for 2 hospitals"),
        (4, [_flags("accepted", *FOUR), _flags("used", *FOUR), _update()], ""),
    ],
)
def test_too_few_open_nothing(rows: int, opened: list[dict[str, Any]], fault: str) -> None:
    said = difference(opened, build_rule("guarded"), rows, 2, minimum=3)
    assert fault in said
    assert bool(said) == bool(fault)


@pytest.mark.parametrize("name", ["paper", "guarded"])
def test_an_opening_that_no_rule_declares_is_found(name: str, tmp_path: Path) -> None:
    settings = [f"defence={name}", "ledger=pyevm", "attacks=[]", "rounds=1"]
    folder = tiny_job.run(tmp_path / "run", settings) / "cells" / f"{name}--none"
    cell, config = read_cell(folder), tiny_job.config(*settings)
    planned = plan(config)[0]
    assert list(check_against_settings(cell, planned)) == []
    more = replace(cell, openings=[*cell.openings, _flags("extra", *FOUR)])
    found = [finding.place for finding in check_against_settings(more, planned)]
    assert found == [f"cells/{name}--none/openings.jsonl, round 1"]
    cell.openings[-1]["sha256"] = "0" * 64
    found = [finding.place for finding in check_against_settings(cell, planned)]
    assert found == [f"cells/{name}--none/openings.jsonl, round 1, update"]
