"""The notebook runs from its first cell to its last, as in a kernel: one process, no script."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

NOTEBOOK = Path(__file__).resolve().parents[2] / "docs/notebooks/first_steps.ipynb"
CHECKS = """
assert float(attacked.frame["test_accuracy"].iloc[-1]) < float(held.frame["test_accuracy"].iloc[-1])
assert len(found.frame) == 2 * 2 * 3
assert [opening["name"] for opening in shared.openings] == ["accepted", "update"]
assert shared.frame["mpc_rounds"].iloc[-1] > 0
assert len(axes.lines) == 2
"""


@pytest.mark.slow
def test_the_notebook_runs_as_it_stands(tmp_path: Path) -> None:
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    sources = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    assert len(sources) > 8
    assert all(not cell.get("outputs") for cell in cells)
    done = subprocess.run(
        [sys.executable, "-c", "\n\n".join([*sources, CHECKS])],
        cwd=tmp_path,
        env=os.environ | {"MPLBACKEND": "agg"},
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
