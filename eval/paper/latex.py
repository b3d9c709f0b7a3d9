"""Sheets as LaTeX tables, for a document with booktabs and UTF-8."""

from __future__ import annotations

from eval.tables.sheet import Sheet

_ESCAPED = {
    **{mark: f"\\{mark}" for mark in "&%$#_{}"},
    "\\": "\\textbackslash{}",
    "~": "\\textasciitilde{}",
    "^": "\\textasciicircum{}",
    "±": "$\\pm$",
    "−": "$-$",
    "–": "--",
    "×": "$\\times$",
}


def latex(sheet: Sheet) -> str:
    """A sheet as a `table` with title and note as its caption; `\\usepackage{booktabs}` needed."""
    rule = "l" + "".join("l" if name in sheet.words else "r" for name in sheet.header[1:])
    lines = [_line(sheet.header), "\\midrule", *map(_line, sheet.body)]
    caption = f"{escaped(sheet.title)}. {escaped(sheet.note)}".rstrip()
    return "\n".join(
        [
            "\\begin{table}",
            f"\\caption{{{caption}}}",
            f"\\begin{{tabular}}{{{rule}}}",
            "\\toprule",
            *lines,
            "\\bottomrule",
            "\\end{tabular}",
            "\\end{table}",
            "",
        ]
    )


def escaped(text: str) -> str:
    """Text with what LaTeX reads otherwise written as it prints."""
    return "".join(_ESCAPED.get(mark, mark) for mark in text)


def _line(cells: list[str]) -> str:
    return " & ".join(map(escaped, cells)) + " \\\\"
