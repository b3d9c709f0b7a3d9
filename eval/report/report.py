"""The report of a run: one HTML file that needs nothing else, neither network nor scripts."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path

import yaml

from eval import tables
from eval.figures import figures
from eval.jobs.completeness import Gaps, find_gaps
from eval.jobs.run_lock import only_writer
from eval.report.cells import cell_groups, ledger_summary, opened_summary
from eval.report.explorer import explorer_page
from eval.report.overview import header_facts, insecure_cells, tiles, warned_cells
from eval.report.pages import render_page
from eval.report.wording import LIMITS, READING, TRUST
from eval.results.records import MALFORMED, Run, load_run
from eval.results.style import headline_fraction
from secure_fl.errors import InputError, SecureFLError
from secure_fl.files import write_atomic

WHOLE = Gaps()
REPORT, EXPLORER, FIGURES = "report.html", "explorer.html", "figures"


def write_report(run_folder: Path) -> Path:
    """Draw the figures of a finished run, write `report.html` and `explorer.html` beside it.

    Returns:
        The path of the report.

    Raises:
        InputError: the folder is not a finished run, the message names the file at fault; or
            another process writes into it.
    """
    pages = draw_pages(run_folder)
    with only_writer(run_folder):
        (run_folder / FIGURES).mkdir(exist_ok=True)
        for name, content in pages.items():
            write_atomic(run_folder / name, content)
    return run_folder / REPORT


def draw_pages(run_folder: Path) -> dict[str, bytes]:
    """All that is drawn from a run's files, by path within its folder; the report comes last.

    The same files give the same bytes under the same versions, wherever the folder is.

    Raises:
        InputError: the folder is not a finished run, the message names the file at fault; or a
            record is not of the form that a run writes.
    """
    try:
        return _draw_pages(run_folder)
    except SecureFLError:
        raise
    except MALFORMED as error:
        fault = f"{type(error).__name__}: {error}"
        raise InputError(
            f"the records in {run_folder} are not of the form that a run writes ({fault})"
        ) from error


def _draw_pages(run_folder: Path) -> dict[str, bytes]:
    run = load_run(run_folder)
    light = figures.draw_all(run)
    pages = {f"{FIGURES}/{name}.png": png for name, png in light.items()}
    pages[EXPLORER] = explorer_page(run_folder).encode()
    gaps = find_gaps(run_folder, run)
    pages[REPORT] = render(run, light, figures.draw_all(run, dark=True), gaps).encode()
    return pages


def render(
    run: Run,
    light: Mapping[str, bytes],
    dark: Mapping[str, bytes] | None = None,
    gaps: Gaps = WHOLE,
) -> str:
    """Return the report as HTML.

    Args:
        run: what it is of.
        light, dark: PNGs by figure name.
        gaps: what the run lacks; said at the top, and below and in the tables.
    """
    rows = run.rows
    sheets = tables.sheets(rows, paper=False)
    further = [tables.degradation_sheet(rows), tables.even_odds_sheet(rows)]
    sheets[2:2] = [sheet for sheet in further if sheet.body]
    sheets = [_noted(sheet, gaps) for sheet in sheets]
    return render_page(
        "report.html",
        run=run,
        lead=_sentence(str(run.config.get("description") or "")),
        facts=header_facts(run),
        insecure=insecure_cells(rows),
        missing=gaps.sentences,
        warned=warned_cells(run),
        repeatable=any(row.get("repeatable_secrets") for row in rows),
        tiles=tiles(rows),
        fraction=headline_fraction(rows),
        sheets=sheets,
        paper=tables.paper_sheet(rows),
        pictures=_pictures(light, dark or {}),
        all_cells=_noted(tables.cells_sheet(rows, gaps.cells), gaps),
        groups=cell_groups(run.cells),
        trust=TRUST,
        limits=LIMITS,
        opened=opened_summary(run.cells),
        ledger=ledger_summary(run.cells),
        environment=run.environment,
        config=yaml.safe_dump(run.config, sort_keys=False, allow_unicode=True),
        command=str(run.environment.get("command") or "secure-fl run"),
    )


def _noted(sheet: tables.Sheet, gaps: Gaps) -> tables.Sheet:
    """The sheet with a note of what is missing."""
    return sheet._replace(note=" ".join(note for note in (sheet.note, gaps.note) if note))


def _pictures(light: Mapping[str, bytes], dark: Mapping[str, bytes]) -> list[dict[str, str]]:
    return [
        {
            "name": name,
            "reading": READING[name],
            "light": base64.b64encode(png).decode("ascii"),
            "dark": base64.b64encode(dark.get(name, b"")).decode("ascii"),
        }
        for name, png in light.items()
    ]


def _sentence(text: str) -> str:
    """Upper-case the first letter alone and end with a full stop; empty stays empty."""
    return text[:1].upper() + text[1:].rstrip(".") + "." if text else ""
