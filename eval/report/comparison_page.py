"""What a comparison of runs leaves: its page, Markdown, figure and data."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from pathlib import Path

from eval.figures.comparison import draw_comparison
from eval.jobs.claims import check_own
from eval.report.pages import render_page
from eval.results.comparison import Comparison, as_json
from eval.tables import comparison_notes, comparison_sheets, markdown_sheets, measure_title
from secure_fl.files import write_atomic, write_json

# Columns of the sheets that are texts.
WORDS = 2
NAME = "comparison"


def write_comparison(found: Comparison, folders: Sequence[str], place: Path) -> list[Path]:
    """Write `comparison.html`, `.md`, `.png` and `.json` into a folder; return their paths.

    Args:
        found: what is written.
        folders: that it was read from, as they were named.
        place: made where it is not there; that of an earlier comparison is written anew.

    Raises:
        InputError: the folder holds other things.
    """
    files = [f"{NAME}.{kind}" for kind in ("html", "md", "png", "json")]
    check_own(place, files, "a comparison")
    place.mkdir(parents=True, exist_ok=True)
    titles = {measure: measure_title(measure) for measure in found.measures}
    light, dark = draw_comparison(found, titles), draw_comparison(found, titles, dark=True)
    sheets, notes = comparison_sheets(found), comparison_notes(found)
    page = render_page(
        f"{NAME}.html",
        methods=len(found.methods),
        circumstances=len(found.circumstances),
        against=found.against,
        light=base64.b64encode(light).decode(),
        dark=base64.b64encode(dark).decode(),
        sheets=sheets,
        notes=notes,
        folders=folders,
    )
    text = "\n".join([markdown_sheets(sheets, WORDS), "\n\n".join(notes), ""])
    paths = [place / name for name in files]
    for path, content in zip(paths, (page.encode(), text.encode(), light), strict=False):
        write_atomic(path, content)
    write_json(paths[3], {"folders": list(folders), **as_json(found)})
    return paths
