"""What a person reads while cells run side by side."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from eval.jobs import progress
from eval.jobs.progress import CellLines


def row(defence: str, attack: str, malicious: float, **more: Any) -> dict[str, Any]:
    return {"defence": defence, "attack": attack, "malicious": malicious, "seed": 3} | more


def test_each_cell_has_a_line_with_the_time_left(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Ten seconds a cell; what a folder held took no time, and is not counted."""
    ticks = itertools.count(100.0, 10.0)
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(ticks))
    lines = CellLines(["task"])
    lines(4, 8, [row("median", "none", 0.0)] * 4)
    lines(5, 8, [row("median", "none", 0.0)])
    lines(6, 8, [row("median", "backdoor", 0.3, task="digits-50")])
    lines(8, 8, [row("fedavg", "backdoor", 0.4)])
    assert capsys.readouterr().out.splitlines() == [
        "[4/8] 4 kept from before",
        "[5/8] median, seed 3; about 30 s left",
        "[6/8] median, backdoor of 30.0%, seed 3, task=digits-50; about 20 s left",
        "[8/8] fedavg, backdoor of 40.0%, seed 3; about 0 s left",
    ]
