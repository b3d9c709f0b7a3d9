"""Who holds what: rows of each class at every hospital, as the run began."""

from __future__ import annotations

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import to_hex
from matplotlib.figure import Figure
from matplotlib.patches import Patch

from eval.figures.plotting import WIDTH, theme, to_png
from eval.jobs.environment import PARTIES
from eval.results.records import Run

# Colours that print and that colour-blind readers tell apart (Okabe and Ito), for few classes.
_FEW = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442", "#7F7F7F")
# Most hospitals with a number beside the bar, and most classes in the legend.
_NUMBERED, _NAMED = 40, 16


def who_holds_what(run: Run, dark: bool = False) -> bytes | None:
    """Bars of rows by hospital, stacked by class; None of a run that does not tell them.

    Of rows with several labels, bars of labels, with the number of rows beside them.
    """
    told = run.environment.get(PARTIES)
    if told is None:
        return None
    names = [str(name) for name in told["classes"]]
    counts = np.array(told["hospitals"], dtype=float).reshape(-1, len(names))  # (n, C)
    colours = _colours(len(names))
    with theme(dark):
        hospitals = len(counts)
        height = 1.5 + min(0.2 * hospitals, 9.0)
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        axes = figure.subplots()
        places, left = np.arange(hospitals), np.zeros(hospitals)
        for column, colour in zip(counts.T, colours, strict=True):
            axes.barh(places, column, left=left, color=colour, height=0.82)
            left += column
        axes.set_ylim(hospitals - 0.4, -0.6)
        axes.set_xlim(0, 1.1 * left.max())
        axes.set_ylabel("hospital")
        several = "rows" in told
        words = "labels of rows, several or none each; beside: rows"
        axes.set_xlabel(words if several else "rows, before rarer classes are repeated")
        axes.grid(axis="y", visible=False)
        if hospitals <= _NUMBERED:
            axes.set_yticks(places)
            sizes = told["rows"] if several else left.tolist()
            for place, (end, size) in enumerate(zip(left.tolist(), sizes, strict=True)):
                axes.text(end + 0.01 * left.max(), place, f"{size:,.0f}", va="center")
        if len(names) <= _NAMED:
            handles = [Patch(color=c, label=n) for c, n in zip(colours, names, strict=True)]
            figure.legend(handles=handles, loc="outside lower center", ncols=_columns(names))
        figure.suptitle("Who holds what")
        return to_png(figure)


def _columns(names: list[str]) -> int:
    """Entries of a line of the legend: at most eight, and no more than the longest name allows."""
    inches = 0.5 + 0.075 * max(len(name) for name in names)
    return max(1, min(8, len(names), int(WIDTH / inches)))


def _colours(classes: int) -> list[str]:
    """One colour a class; shades in the order of the classes where there are many."""
    if classes <= len(_FEW):
        return list(_FEW[:classes])
    return [to_hex(colour) for colour in colormaps["viridis"](np.linspace(0, 1, classes))]
