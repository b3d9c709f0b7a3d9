"""A report of a run that lacks something says so at the top and in its tables."""

from __future__ import annotations

import html
import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from eval.jobs.completeness import Gaps, find_gaps
from eval.report.report import render, write_report
from eval.results.records import load_run
from tests.support import sample_run, tiny_job

CELL = "robust--backdoor--0.3"
NAME = "+ robust aggregation, Backdoor, 30 %"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    rows = sample_run.rows(attacks=("none", "label_flip", "backdoor"))
    return sample_run.write(tmp_path / "run", rows)


def _no_cell(run: Path) -> None:
    shutil.rmtree(run / "cells" / CELL)
    summary = json.loads((run / "summary.json").read_text())
    summary["rows"] = [
        row for row in summary["rows"] if (row["defence"], row["attack"]) != ("robust", "backdoor")
    ]
    (run / "summary.json").write_text(json.dumps(summary))


def _no_records(run: Path) -> None:
    shutil.rmtree(run / "cells" / CELL)


def _no_rounds_file(run: Path) -> None:
    (run / "cells" / CELL / "rounds.jsonl").unlink()


def _fewer_rounds(run: Path) -> None:
    path = run / "cells" / CELL / "rounds.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:5]))


def _told_fewer(run: Path) -> None:
    """Row and records agree; the settings ask for more."""
    _fewer_rounds(run)
    for path in (run / "cells" / CELL / "cell.json", run / "summary.json"):
        content = json.loads(path.read_text())
        for row in content.get("rows", [content]):
            if (row["defence"], row["attack"]) == ("robust", "backdoor"):
                row["rounds_run"] = 5
        path.write_text(json.dumps(content))


def _repeated_round(run: Path) -> None:
    path = run / "cells" / CELL / "rounds.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join([*lines[:-1], lines[0]]))


def _no_openings(run: Path) -> None:
    (run / "cells" / CELL / "openings.jsonl").unlink()


def _fewer_openings(run: Path) -> None:
    path = run / "cells" / CELL / "openings.jsonl"
    path.write_text("".join(path.read_text().splitlines(keepends=True)[:-2]))


LACKS: dict[Callable[[Path], None], str] = {
    _no_cell: f"Cells of the settings that are not there: {NAME}.",
    _no_records: f"Cells without records of their rounds: {NAME}.",
    _no_rounds_file: f"Cells without records of their rounds: {NAME}.",
    _fewer_rounds: f"Cells with fewer rounds than they should have: {NAME} (5 of 8).",
    _told_fewer: f"Cells with fewer rounds than they should have: {NAME} (5 of 8).",
    _repeated_round: f"Cells with fewer rounds than they should have: {NAME} (7 of 8).",
    _no_openings: f"Cells with rounds whose openings are not recorded: {NAME}.",
    _fewer_openings: f"Cells with rounds whose openings are not recorded: {NAME}.",
}


@pytest.mark.parametrize("damage", LACKS, ids=lambda damage: damage.__name__)
def test_what_is_missing_stands_at_the_top_and_below_each_table(
    damage: Callable[[Path], None], folder: Path
) -> None:
    whole = find_gaps(folder, load_run(folder))
    assert whole == Gaps()
    damage(folder)
    run = load_run(folder)
    gaps = find_gaps(folder, run)
    assert gaps.sentences == [LACKS[damage]]
    page = render(run, {}, gaps=gaps)
    start = page.index('role="alert"')
    assert start < page.index("<header>")
    banner = html.unescape(page[start : page.index("</div>", start)])
    assert "Incomplete run." in banner
    assert LACKS[damage] in banner
    notes = [html.unescape(n) for n in re.findall(r'<p class="note">(.*?)</p>', page, re.DOTALL)]
    assert sum(f"Incomplete run. {LACKS[damage]}" in note for note in notes) >= 4
    in_table = re.search(r"robust aggregation</th><td>Backdoor</td><td>30 %</td><td>missing", page)
    assert (in_table is not None) == (damage is _no_cell)


def test_a_whole_run_has_no_banner(folder: Path) -> None:
    page = render(load_run(folder), {})
    assert "ncomplete" not in page
    assert "missing</td>" not in page


def test_settings_that_cannot_be_read_are_told(folder: Path) -> None:
    (folder / "config.yaml").write_text("rounds: 8\nrounds_to_come: 3\n")
    gaps = find_gaps(folder, load_run(folder))
    assert gaps.sentences[0].startswith("The settings cannot be read: unknown key rounds_to_come")


def test_many_cells_are_counted() -> None:
    gaps = Gaps(cells=tuple((f"m{i}", "Backdoor", "30 %") for i in range(9)))
    assert gaps.sentences[0].endswith("m5, Backdoor, 30 % and 3 more.")


def test_a_real_run_is_whole_until_a_cell_goes(tmp_path: Path) -> None:
    folder = tiny_job.run(tmp_path / "run", ["rounds=1"])
    assert find_gaps(folder, load_run(folder)) == Gaps()
    (folder / "cells/fedavg--backdoor/openings.jsonl").write_text("")
    shutil.rmtree(folder / "cells/paper--backdoor")
    page = write_report(folder).read_text("utf-8")
    assert "Cells without records of their rounds: Full framework (paper), Backdoor, 25 %." in page
    assert "Cells with rounds whose openings are not recorded: FedAvg, Backdoor, 25 %." in page
