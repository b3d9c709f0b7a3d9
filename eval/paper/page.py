"""The paper's parts as one HTML page, Markdown and LaTeX, with PNGs of the figures."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from eval.jobs.claims import check_own, check_place
from eval.paper.cells import CELLS
from eval.paper.data_files import MADE, Made, write_data
from eval.paper.latex import latex
from eval.paper.parameters import parameter_sheet
from eval.paper.parts import PARTS
from eval.paper.rows import Row
from eval.paper.sections import SAYS, Section, sections
from eval.report.pages import render_page
from eval.tables.sheet import Sheet
from eval.tables.summary import markdown_sheets
from secure_fl.files import write_atomic

PAGE, MARKDOWN, LATEX, FIGURES = "paper.html", "paper.md", "paper.tex", "figures"
LEAD = "Each table and figure of the paper's evaluation, measured here, beside what the paper says."


def check_folder(folder: Path) -> None:
    """Refuse a folder of something else before anything is written.

    Raises:
        InputError: it holds what `secure-fl paper` does not write.
    """
    data = [f"{name}.{kind}" for name in PARTS for kind in ("json", "made.json", "csv")]
    check_own(folder, [PAGE, MARKDOWN, LATEX, MADE, FIGURES, CELLS, *data], "the same command")
    for place in sorted((folder / CELLS).iterdir()) if (folder / CELLS).is_dir() else ():
        check_place(place)


def write_paper(
    folder: Path, parts: Sequence[str], rows: Mapping[str, Sequence[Row]], made: Made
) -> tuple[Path, list[Sheet]]:
    """Write all into a folder; return the page's path, and the tables in short.

    Args:
        folder: existing.
        parts: names, in order.
        rows: of each part, from `eval.paper.cells.run_parts`.
        made: what was asked for.
    """
    shown = {name: _sections(name, rows.get(name, ()), made) for name in parts}
    listed = [section for each in shown.values() for section in each]
    sheets = [sheet for section in listed for sheet in section.sheets]
    pictures = {id(section): _pictures(section) for section in listed}
    (folder / FIGURES).mkdir(exist_ok=True)
    for section in listed:
        for name, (light, _) in pictures[id(section)].items():
            write_atomic(folder / _file(section, name), light)
    write_data(folder, rows, made)
    write_atomic(folder / LATEX, "\n".join(map(latex, sheets)).encode())
    several = len(made.data) > 1
    page = render_page(
        "paper.html",
        facts=_facts(made, parts),
        parts=[
            {
                "name": name,
                "short": PARTS[name].title.partition(":")[0],
                "title": PARTS[name].title,
                "says": SAYS[name],
                "sections": [_shown(each, pictures[id(each)], several) for each in shown[name]],
            }
            for name in parts
        ],
        lead=LEAD,
        how="The command that made this page; given again, it reads what is there and draws anew.",
        command=made.command,
    )
    write_atomic(folder / PAGE, page.encode())
    text = _markdown(parts, shown, pictures, made)
    write_atomic(folder / MARKDOWN, text.encode())
    return folder / PAGE, [_short(each) for each in listed if _leads(each)]


def _leads(section: Section) -> bool:
    """Whether a section's first table tells it in short; that of all tasks is too wide for that."""
    return bool(section.sheets) and (bool(section.heading) or not PARTS[section.part].tasks)


def _short(section: Section) -> Sheet:
    title = f"{PARTS[section.part].title.partition(':')[0]}. {section.sheets[0].title}"
    return section.sheets[0]._replace(title=title, note="")


def _sections(name: str, rows: Sequence[Row], made: Made) -> list[Section]:
    if not PARTS[name].experiments:
        return [Section(name, "", [parameter_sheet(made.data[0], made.settings)])]
    return sections(name, rows)


def _pictures(section: Section) -> dict[str, tuple[bytes, bytes]]:
    """PNGs on light and on dark paper."""
    drawn = {name: (draw(False), draw(True)) for name, draw in section.figures.items()}
    return {
        name: (light, dark)
        for name, (light, dark) in drawn.items()
        if light is not None and dark is not None
    }


def _shown(
    section: Section, pictures: Mapping[str, tuple[bytes, bytes]], several: bool
) -> dict[str, Any]:
    return {
        "heading": section.heading or (section.data if several else ""),
        "sheets": section.sheets,
        "figures": [
            {
                "words": _words(section, name),
                "light": base64.b64encode(light).decode(),
                "dark": base64.b64encode(dark).decode(),
            }
            for name, (light, dark) in pictures.items()
        ],
    }


def _markdown(
    parts: Sequence[str],
    shown: Mapping[str, Sequence[Section]],
    pictures: Mapping[int, Mapping[str, tuple[bytes, bytes]]],
    made: Made,
) -> str:
    """The page as GitHub's Markdown, with its figures by their files."""
    lines = ["# The paper, cell by cell", "", LEAD, ""]
    lines += [f"- {name}: {value}" for name, value in _facts(made, parts)]
    lines += ["", "```sh", made.command, "```", ""]
    for name in parts:
        lines += [f"## {PARTS[name].title}", ""]
        lines += [f"**The paper:** {SAYS[name]}", ""] if SAYS[name] else []
        for section in shown[name]:
            lines += [f"### {section.heading}", ""] if section.heading else []
            for figure in pictures[id(section)]:
                lines += [f"![{_words(section, figure)}]({_file(section, figure)})", ""]
            lines += [markdown_sheets(section.sheets)]
    return "\n".join(lines)


def _file(section: Section, figure: str) -> str:
    """Where a figure lies within the folder."""
    named = "_".join(word for word in (section.part, section.data, figure) if word)
    return f"{FIGURES}/{named}.png"


def _words(section: Section, figure: str) -> str:
    """What a figure shows, for those who do not see it."""
    return f"{PARTS[section.part].title}: {figure.replace('_', ' ')}"


def _facts(made: Made, parts: Sequence[str]) -> list[tuple[str, str]]:
    where = "as deployed" if made.mpc else "in the clear with the integers of MPC"
    on_tasks = any(PARTS[name].tasks for name in parts)
    if not made.mpc and on_tasks:
        where += "; on the defence's tasks as floats and without a ledger"
    seeds = ", ".join(map(str, made.seeds))
    tasks = [("Tasks", ", ".join(made.tasks))] if on_tasks else []
    told = [
        ("Data", ", ".join(made.data)),
        *tasks,
        ("Seeds", seeds),
        ("Methods under MPC ran", where),
    ]
    return [*told, *([("Settings", " ".join(made.settings))] if made.settings else [])]
