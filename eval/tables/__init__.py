"""Tables of a run: built once as sheets of text, rendered for console, Markdown and HTML."""

from eval.tables.cells import cells_sheet
from eval.tables.comparison import comparison_notes, comparison_sheets, measure_title
from eval.tables.cost import cost_sheet
from eval.tables.detection import detection_sheet
from eval.tables.gain import gain_sheet
from eval.tables.paper import paper_sheet
from eval.tables.quality import (
    averages_note,
    class_sheet,
    privacy_note,
    quality_sheet,
    repeatable_note,
)
from eval.tables.sheet import DASH, Sheet, decimals, megabytes, percent, points, seconds
from eval.tables.success import (
    attack_sheet,
    calibration_note,
    degradation_sheet,
    even_odds_sheet,
)
from eval.tables.summary import (
    console_sheets,
    console_table,
    markdown_sheets,
    markdown_table,
    sheets,
)

__all__ = [
    "DASH",
    "Sheet",
    "attack_sheet",
    "averages_note",
    "calibration_note",
    "cells_sheet",
    "class_sheet",
    "comparison_notes",
    "comparison_sheets",
    "console_sheets",
    "console_table",
    "cost_sheet",
    "decimals",
    "degradation_sheet",
    "detection_sheet",
    "even_odds_sheet",
    "gain_sheet",
    "markdown_sheets",
    "markdown_table",
    "measure_title",
    "megabytes",
    "paper_sheet",
    "percent",
    "points",
    "privacy_note",
    "quality_sheet",
    "repeatable_note",
    "seconds",
    "sheets",
]
