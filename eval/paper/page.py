"""The paper's parts as one HTML page, Markdown, LaTeX, PNGs, and JSON rows."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from eval.jobs.environment import environment
from eval.paper.cost import COLUMNS
from eval.paper.latex import latex
from eval.paper.parameters import parameter_sheet
from eval.paper.parts import PARTS
from eval.paper.rows import Row, compared, judged, published
from eval.paper.sections import SAYS, Section, sections
from eval.report.pages import render_page
from eval.tables.sheet import Sheet
from eval.tables.summary import markdown_sheets
from secure_fl.files import write_atomic, write_json
from secure_fl.settings.config import load_config

PAGE, MARKDOWN, LATEX, FIGURES = "paper.html", "paper.md", "paper.tex", "figures"


@dataclass(frozen=True)
class Made:
    """What was asked for.

    Attributes:
        data: data sets.
        seeds: of each.
        settings: beyond the parts' own.
        mpc: whether the methods ran under MPC.
        command: as the user typed it.
        tasks: of parts that show them.
    """

    data: Sequence[str]
    seeds: Sequence[int]
    settings: Sequence[str]
    mpc: bool
    command: str
    tasks: Sequence[str] = ()


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
            place = "_".join(word for word in (section.part, section.data, name) if word)
            write_atomic(folder / FIGURES / f"{place}.png", light)
    write_atomic(folder / MARKDOWN, markdown_sheets(sheets).encode())
    write_atomic(folder / LATEX, "\n".join(map(latex, sheets)).encode())
    for name in ("table2", "section41"):
        if rows.get(name):
            write_json(folder / f"{name}.json", published(compared(rows[name])))
            write_json(folder / f"{name}.made.json", _made(made, rows[name]))
    if rows.get("table3"):
        kept = [{key: row[key] for key in COLUMNS} for row in rows["table3"]]
        write_json(folder / "table3.json", kept)
        write_json(folder / "table3.made.json", _made(made, rows["table3"]) | {"mpc": True})
    if rows.get("defence"):
        write_json(folder / "defence.json", judged(rows["defence"]))
        write_json(folder / "defence.made.json", _made(made, rows["defence"]))
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
        how="The command that made this page; given again, it reads what is there and draws anew.",
        command=made.command,
    )
    write_atomic(folder / PAGE, page.encode())
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
                "words": f"{PARTS[section.part].title}: {name.replace('_', ' ')}",
                "light": base64.b64encode(light).decode(),
                "dark": base64.b64encode(dark).decode(),
            }
            for name, (light, dark) in pictures.items()
        ],
    }


def _made(made: Made, rows: Sequence[Row]) -> dict[str, Any]:
    """How rows were made, for whoever reads them elsewhere."""
    about = environment(load_config(), made.command)
    return {
        "command": made.command,
        "created": about["created"],
        "packages": about["packages"],
        "data": list(made.data),
        "seeds": list(made.seeds),
        "rounds": max(row["rounds_wanted"] for row in rows),
        "mpc": made.mpc,
    }


def _facts(made: Made, parts: Sequence[str]) -> list[tuple[str, str]]:
    where = "as deployed" if made.mpc else "in the clear with the integers of MPC"
    if not made.mpc and any(PARTS[name].tasks for name in parts):
        where += "; on the defence's tasks as floats and without a ledger"
    seeds = ", ".join(map(str, made.seeds))
    tasks = [("Tasks", ", ".join(made.tasks))] if made.tasks else []
    told = [
        ("Data", ", ".join(made.data)),
        *tasks,
        ("Seeds", seeds),
        ("Methods under MPC ran", where),
    ]
    return [*told, *([("Settings", " ".join(made.settings))] if made.settings else [])]
