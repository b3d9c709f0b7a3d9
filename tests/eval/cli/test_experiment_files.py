"""Every experiment of the paper runs, small, and its report shows what the docs send readers to."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from eval.jobs import grid, starting
from eval.jobs.plan import plan
from eval.jobs.progress import Silent
from eval.report.report import write_report
from secure_fl.settings.config import load_config, presets

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reproducing.md"
# Rules in the clear and one share of malicious hospitals; attacks and defences as in the file.
SMALL = (
    "data.rows=1200",
    "data.hospitals=4",
    "model.params.hidden=[4]",
    "train.epochs=1",
    "rounds=2",
    "defence.backend=fixed",
)
# Where each of the five methods plays; elsewhere one without a ledger and one with it.
EVERY_METHOD = ("fig4b", "table2", "table3")
# Titles that are drawn, and how the report's text calls their pictures.
PICTURES = {
    "Attack success against the malicious fraction": 'alt="Success by fraction"',
    "Where the time of a round goes": 'alt="Round time"',
}


def promised() -> dict[str, list[str]]:
    """What a reader is told to look at in the report, by experiment."""
    rows = re.findall(r"^\|.*experiment=(\w+)` \| (.*) \|$", PAGE.read_text(), re.MULTILINE)
    return {name: re.findall(r'"([^"]+)"', text) for name, text in rows}


@pytest.mark.slow
@pytest.mark.parametrize("name", presets("experiment"))
def test_every_experiment_runs_small_and_reports(name: str, tmp_path: Path) -> None:
    asked = load_config([f"experiment={name}"])
    fractions = "malicious=[0.25, 0.5]" if name in ("fig4", "table1") else "malicious=0.25"
    fewer = ["attacks=[backdoor]"] if len(asked.attacks) > 1 and name != "table2" else []
    if len(asked.defences) > 2 and name not in EVERY_METHOD:
        fewer.append("defences=[fedavg, paper]")
    config = load_config([f"experiment={name}", *SMALL, fractions, *fewer])
    federation = starting.start_job(config, tmp_path / "run", ["secure-fl", "run"])
    rows = grid.run_job(config, federation, tmp_path / "run", Silent())
    assert len(rows) == len(plan(config))
    report = write_report(tmp_path / "run").read_text(encoding="utf-8")
    for title in promised().get(name, []):
        assert PICTURES.get(title, title) in report, title


def test_the_docs_send_readers_somewhere() -> None:
    named = {name for name in presets("experiment") if name.startswith(("table", "fig", "section"))}
    assert named == set(promised())
    assert sum(len(titles) for titles in promised().values()) >= 7
