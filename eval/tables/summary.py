"""The summary of a run: its sheets in reading order, for the console and as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Group, RenderableType
from rich.constrain import Constrain
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from eval.results.records import Row, check_rows
from eval.tables.cost import cost_sheet
from eval.tables.detection import detection_sheet
from eval.tables.gain import gain_sheet
from eval.tables.paper import paper_sheet
from eval.tables.quality import class_sheet, quality_sheet
from eval.tables.sheet import Sheet
from eval.tables.success import attack_sheet

# Characters to a line of a table's note on the console.
NOTE_WIDTH = 110


def sheets(rows: Iterable[Row], paper: bool = True) -> list[Sheet]:
    """Return the summary's sheets in reading order, empty ones left out."""
    checked = check_rows(rows)
    each = class_sheet(checked)
    chosen = [quality_sheet(checked), *([] if each is None else [each])]
    chosen += [attack_sheet(checked), gain_sheet(checked), detection_sheet(checked)]
    chosen.append(cost_sheet(checked))
    beside = paper_sheet(checked) if paper else None
    if beside is not None:
        chosen.append(beside)
    return [sheet for sheet in chosen if sheet.body]


def console_table(rows: Iterable[Row], paper: bool = False) -> Group:
    """Summary for the console: quality, attack success and cost below each other.

    Numbers never fold: on a console below 70 characters print it with `crop=False`.
    """
    return console_sheets(sheets(rows, paper))


def console_sheets(listed: Iterable[Sheet], words: int = 1) -> Group:
    """Sheets for the console, below each other; see `console_table`.

    Args:
        listed: the sheets.
        words: how many of the first columns are texts, and stand on the left.
    """
    return Group(*(part for sheet in listed for part in _rich(sheet, words)))


def markdown_table(rows: Iterable[Row], paper: bool = True) -> str:
    """Summary in GitHub's Markdown, one table a sheet, with its title and note."""
    return markdown_sheets(sheets(rows, paper))


def markdown_sheets(listed: Iterable[Sheet], words: int = 1) -> str:
    """Sheets in GitHub's Markdown; see `console_sheets`."""
    return "\n".join(_markdown(sheet, words) for sheet in listed)


def _rich(sheet: Sheet, words: int) -> list[RenderableType]:
    """Title, table and note; rich's own title and note would be as narrow as a narrow table."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for index, name in enumerate(sheet.header):
        first, text = index < words, name in sheet.words
        # On a narrow console headings and texts fold, not numbers.
        table.add_column(
            escape(name),
            justify="left" if first or text else "right",
            no_wrap=first,
            min_width=0 if text else max((len(line[index]) for line in sheet.body), default=0),
            overflow="fold",
        )
    for line in sheet.body:
        table.add_row(*(Text(text) for text in line))
    note = Text(f"{sheet.note}\n" if sheet.note else "", style="italic dim")
    return [Text(sheet.title, style="bold"), table, Constrain(note, NOTE_WIDTH)]


def _markdown(sheet: Sheet, words: int) -> str:
    def line(cells: Sequence[str]) -> str:
        return "| " + " | ".join(text.replace("|", "\\|") for text in cells) + " |"

    left = [index < words or name in sheet.words for index, name in enumerate(sheet.header)]
    rule = "|" + "".join("---|" if each else "---:|" for each in left)
    parts = [f"**{sheet.title}**", "", line(sheet.header), rule, *map(line, sheet.body), ""]
    return "\n".join([*parts, sheet.note, ""] if sheet.note else parts)
