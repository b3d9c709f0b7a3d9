"""The report: complete, self-contained, safe against hostile names, and readable in a browser."""

from __future__ import annotations

import html
import io
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from eval.report import cells, overview, report
from eval.report.wording import READING
from eval.results.records import Cell, Run, load_run
from secure_fl.errors import InputError
from tests.support import sample_run
from tests.support.chromium import look


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    rows = sample_run.rows(attacks=("none", "label_flip", "backdoor"))
    path = sample_run.write(tmp_path_factory.mktemp("runs") / "sample", rows)
    report.write_report(path)
    return path


@pytest.fixture(scope="module")
def page(folder: Path) -> str:
    return (folder / "report.html").read_text(encoding="utf-8")


class Outline(HTMLParser):
    """Collects what a browser would fetch or run, and whether tags are closed in order."""

    VOID = frozenset(("meta", "img", "source", "br", "link", "input", "hr"))

    def __init__(self) -> None:
        super().__init__()
        self.fetched: list[str] = []
        self.tags: list[str] = []
        self.ids: list[str] = []
        self.anchors: list[str] = []
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in self.VOID:
            self.open.append(tag)
        for name, value in attrs:
            if name in ("src", "srcset", "poster", "data", "action"):
                self.fetched.append(value or "")
            if name == "href":
                self.anchors.append(value or "")
            if name == "id":
                self.ids.append(value or "")
            assert not name.startswith("on"), f"event handler {name}"

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"stray </{tag}>"
        assert self.open.pop() == tag


def outline(page: str) -> Outline:
    parsed = Outline()
    parsed.feed(page)
    parsed.close()
    assert parsed.open == []
    return parsed


def test_nothing_is_fetched_and_nothing_runs(page: str) -> None:
    parsed = outline(page)
    assert parsed.fetched
    assert all(source.startswith("data:image/png;base64,") for source in parsed.fetched)
    assert not {"script", "link", "iframe", "object", "form"} & set(parsed.tags)
    assert "default-src 'none'" in page
    assert not re.search(r"@import|url\(", page)
    within = set(parsed.anchors) - {"explorer.html"}  # the page written beside it
    assert {anchor.removeprefix("#") for anchor in within} <= set(parsed.ids)


def test_report_states_what_ran_and_how_to_repeat_it(page: str) -> None:
    text = html.unescape(re.sub(r"<[^>]+>", " ", page))
    for expected in (
        "support2",
        "secure-fl run seed=0",
        "secure-fl audit runs/sample",
        "2026-01-02 03:04 UTC",
        "crypten",
        "alpha: 0.3",
        "semi-honest",
        "k−1 of the k nodes",
        "does not collude",
        "arbitrarily malicious",
        "not results on MIMIC-III",
        "no CT pixels",
        "2^64",
        "other data, 200 rounds",
        "5922",
        "ab" * 32,
        "cd" * 32,
    ):
        assert expected in text, expected


def test_figures_are_embedded_and_saved(folder: Path, page: str) -> None:
    saved = sorted(path.stem for path in (folder / "figures").glob("*.png"))
    assert saved == sorted(set(READING) - {"success_by_fraction"})
    assert page.count("<figure>") == len(saved)
    for name in saved:
        assert READING[name] in html.unescape(page)


def test_banner_only_for_insecure_preprocessing(tmp_path: Path, page: str) -> None:
    assert 'role="alert"' not in page
    rows = sample_run.rows(attacks=("none",))
    for row in rows:
        row["insecure"] = row["defence"] == "framework"
    shown = report.write_report(sample_run.write(tmp_path / "run", rows)).read_text("utf-8")
    alert = shown[shown.index('role="alert"') : shown.index("</div>", shown.index('role="alert"'))]
    assert "Full framework (paper)" in alert
    assert "guarded" not in alert


def test_repeatable_secrets_and_the_privacy_budget_are_shown(tmp_path: Path, page: str) -> None:
    assert "epsilon" not in page
    rows = sample_run.rows(attacks=("none",))
    for row in rows:
        row |= {"repeatable_secrets": True, "noise_sigma": 0.5, "epsilon": 12.34}
    rows[-1]["epsilon"] = 77.77
    shown = report.write_report(sample_run.write(tmp_path / "run", rows)).read_text("utf-8")
    alert = shown[shown.index('role="alert"') : shown.index("</div>", shown.index('role="alert"'))]
    assert "Repeatable secrets." in alert
    assert "epsilon 77.8 at delta 1e-05 after 8 rounds" in shown


def test_hostile_names_are_escaped(tmp_path: Path) -> None:
    rows = sample_run.rows(attacks=("none", "backdoor"))
    for row in rows:
        row["label"] = "<script>alert(1)</script>" + str(row["label"])
        row["chain_head"] = '"><img src=x onerror=alert(1)>'
    shown = report.write_report(sample_run.write(tmp_path / "run", rows)).read_text("utf-8")
    parsed = outline(shown)
    assert "script" not in parsed.tags
    assert all(source.startswith("data:") for source in parsed.fetched)


def test_rejections_are_counted_by_group() -> None:
    rounds = [
        {"round": 0},
        {"round": 1, "accepted": [False, True, True, None]},
        {"round": 2, "accepted": [False, False, True, True]},
    ]
    cell = Cell({"malicious": [0]}, rounds)
    assert cells.rejection_shares(cell) == (pytest.approx(1 / 5), 1.0)
    assert cells.rejection_shares(Cell({}, [])) == (None, None)


def test_a_jump_of_the_model_is_named_in_its_cell() -> None:
    row = {"defence": "mean", "attack": "none", "malicious_fraction": 0.0, "accuracy": 0.5}
    drifts = (None, 1.0, 0.9, 0.8, 0.7, 9.0)
    rounds = [{"round": number, "drift": drift} for number, drift in enumerate(drifts)]
    facts = dict(cells.cell_groups([Cell(row, rounds)])[0]["cells"][0]["facts"])
    assert facts["Drift alarms"] == "round 5"


def test_openings_and_ledger_are_summed_up(folder: Path) -> None:
    run = load_run(folder)
    opened = cells.opened_summary(run.cells)
    assert ["Full framework (guarded)", "update", "5922", "24"] in opened  # 3 cells of 8 rounds
    assert not [line for line in opened if line[0] == "FedAvg"]
    first = cells.ledger_summary(run.cells)[0]
    assert first == ["Full framework (paper), no attack", "8 accepted", "311", "cd" * 32]


def test_a_run_of_one_clean_cell_still_has_a_report(tmp_path: Path) -> None:
    bare = {"defence": "mean", "attack": "none", "malicious_fraction": 0.0, "accuracy": 0.5}
    folder = tmp_path / "bare"
    folder.mkdir()
    (folder / "config.yaml").write_text("seed: 1\n", encoding="utf-8")
    (folder / "environment.json").write_text("{}", encoding="utf-8")
    (folder / "summary.json").write_text(json.dumps({"rows": [bare]}), encoding="utf-8")
    shown = report.write_report(folder).read_text("utf-8")
    assert "50.0%" in shown
    assert "nothing was opened" in shown
    outline(shown)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("summary.json", None),
        ("summary.json", "{"),
        ("summary.json", '{"rows": []}'),
        ("environment.json", "[1]"),
        ("config.yaml", "a: [1"),
        ("config.yaml", "- 1"),
    ],
)
def test_a_damaged_run_folder_is_refused_by_file_name(
    tmp_path: Path, name: str, content: str | None
) -> None:
    folder = sample_run.write(tmp_path / "run", sample_run.rows(attacks=("none",)))
    if content is None:
        (folder / name).unlink()
    else:
        (folder / name).write_text(content, encoding="utf-8")
    with pytest.raises(InputError, match=re.escape(name)):
        report.write_report(folder)
    assert not (folder / "report.html").exists()


def test_a_damaged_round_is_refused_by_file_and_line(tmp_path: Path) -> None:
    folder = sample_run.write(tmp_path / "run", sample_run.rows(attacks=("none",)))
    path = next((folder / "cells").glob("guarded--*/rounds.jsonl"))
    lines = path.read_text("utf-8").splitlines()
    lines[2] = lines[2][:-1]
    path.write_text("\n".join(lines), encoding="utf-8")
    with pytest.raises(InputError, match=r"rounds\.jsonl line 3"):
        report.write_report(folder)


SEEN = """(() => ({
  width: document.documentElement.scrollWidth,
  images: [...document.images].map(i => i.complete && i.naturalWidth > 1000),
  rows: [...document.querySelectorAll("tbody tr")].map(r => r.innerText.replace(/\\s+/g, " ")),
  folds: [...document.querySelectorAll("details")].map(d => {
    const before = d.open; d.querySelector("summary").click(); return before !== d.open; }),
}))()"""


@pytest.mark.parametrize("width", [1280, 380])
def test_a_browser_shows_it_whole_and_asks_for_nothing(folder: Path, width: int) -> None:
    seen = look(folder / "report.html", SEEN, width)
    assert seen.complaints == []
    assert all(url.startswith(("file:", "data:")) for url in seen.requests)
    assert [url for url in seen.requests if url.startswith("file:")] == [
        (folder / "report.html").as_uri()[:80]
    ]
    assert seen.value["width"] <= width
    assert seen.value["images"]
    assert all(seen.value["images"])
    assert all(seen.value["folds"])
    for cell in load_run(folder).cells:
        assert any(cell.row["label"] in row for row in seen.value["rows"])


def test_screenshot_shows_tiles_and_tables(folder: Path, tmp_path: Path) -> None:
    shot = tmp_path / "shot.png"
    look(folder / "report.html", "1", 1280, 1600, shot)
    image = Image.open(io.BytesIO(shot.read_bytes())).convert("RGB")
    pixels = np.asarray(image).reshape(-1, 3)
    for colour in ((213, 94, 0), (0, 158, 115)):  # edges of the first and the last tile
        assert (np.abs(pixels.astype(int) - colour).max(axis=1) <= 2).sum() > 200


def test_tiles_show_accuracy_gain_and_worst_attack() -> None:
    rows = sample_run.rows()
    root = next(r for r in rows if r["defence"] == "root_only")
    root["accuracy"] = 0.80
    fedavg = [r for r in rows if r["defence"] == "fedavg"]
    fedavg[0]["accuracy"] = 0.79
    first = overview.tiles(rows)[0]
    assert (first.label, first.accuracy, first.gain) == ("FedAvg", "79.0%", "−1.0")
    assert (first.worst, first.worst_attack) == ("+86.0", "Model replacement")
    alone = overview.tiles([r for r in rows if r is not root])[0]
    assert alone.gain == ""


@pytest.mark.parametrize(
    ("data", "told"),
    [
        ({"alpha": 0.3}, ("Dirichlet α", "0.3")),  # as runs before there were others
        ({"partition": "dirichlet", "alpha": 0.1}, ("Dirichlet α", "0.1")),
        ({"partition": "iid", "alpha": 0.3}, ("Partition", "iid")),
        ({"partition": "quantity", "alpha": 0.3}, ("Partition", "quantity, alpha 0.3")),
        (
            {"partition": "classes", "alpha": 0.3, "classes_per_hospital": 2},
            ("Partition", "classes, classes_per_hospital 2"),
        ),
        (
            {"partition": "column", "alpha": 0.3, "site": "dzgroup"},
            ("Partition", "column, site dzgroup"),
        ),
    ],
)
def test_the_head_tells_how_rows_were_divided(data: dict, told: tuple[str, str]) -> None:
    run = Run("x", {"data": data}, {}, {}, (Cell(sample_run.rows()[0]),))
    facts = overview.header_facts(run)
    assert told in facts
    assert sum(name in ("Partition", "Dirichlet α") for name, _ in facts) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(None, None), (0.4, "0 s"), (59.6, "1 min 0 s"), (125.0, "2 min 5 s")]
)
def test_the_jobs_time_is_shown_in_minutes(seconds: float | None, text: str | None) -> None:
    run = Run("x", {}, {}, {"seconds": seconds}, (Cell(sample_run.rows()[0]),))
    assert dict(overview.header_facts(run)).get("Job") == text
