"""The figure of a comparison: means and intervals of every method, circumstance by circumstance."""

from __future__ import annotations

import math
from collections.abc import Sequence

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from eval.figures.plotting import WIDTH, label_bottom, make_panels, percent_axis, theme, to_png
from eval.results.comparison import Comparison, Line, is_share
from eval.results.style import Look, method_looks

_INCH_A_DOT = 0.17


def draw_comparison(found: Comparison, titles: dict[str, str], dark: bool = False) -> bytes:
    """A panel a measure, a line a circumstance, a dot with its interval a method.

    Args:
        found: what is drawn.
        titles: of measures.
        dark: light ink on dark paper.
    """
    looks = method_looks(found.methods)
    columns = min(2, len(found.measures))
    lines = math.ceil(len(found.measures) / columns)
    height = 0.75 + _INCH_A_DOT * len(found.circumstances) * (len(looks) + 1)
    with theme(dark):
        size = WIDTH, 0.5 + _INCH_A_DOT * len(looks) + lines * height
        figure = Figure(figsize=size, layout="constrained")
        panels = make_panels(figure, lines, columns, len(found.measures))
        for index, (axes, measure) in enumerate(zip(panels, found.measures, strict=True)):
            _panel(axes, found, measure, looks)
            axes.set_title(titles[measure], loc="left")
            if is_share(measure):
                percent_axis(axes.xaxis)
                axes.xaxis.set_major_locator(MaxNLocator(nbins=5))
            places, shown = range(len(found.circumstances)), index % columns == 0
            axes.set_yticks(places, found.circumstances if shown else [""] * len(places))
        label_bottom(panels, columns, "mean over seeds, with its interval")
        handles, labels = panels[0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=1)
        return to_png(figure)


def _arms(lines: Sequence[Line]) -> list[list[float]]:
    """How far each interval reaches below and above its mean: cut at the ends of a measure's range,
    it need not be alike on both sides. Nothing where there is none."""
    arms = [(line.mean - line.low, line.high - line.mean) for line in lines]
    return [[0.0 if math.isnan(arm[side]) else arm[side] for arm in arms] for side in (0, 1)]


def _panel(axes: Axes, found: Comparison, measure: str, looks: list[Look]) -> None:
    step = 1 / (len(looks) + 1)
    for number, look in enumerate(looks):
        lines = [
            line for line in found.lines if (line.measure, line.method) == (measure, look.name)
        ]
        axes.errorbar(
            [line.mean for line in lines],
            [
                found.circumstances.index(line.circumstance) + (number + 1) * step - 0.5
                for line in lines
            ],
            xerr=_arms(lines),
            fmt=look.marker,
            color=look.colour,
            capsize=2.0,
            label=look.label,
        )
    axes.set_ylim(len(found.circumstances) - 0.5, -0.5)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)
    for place in range(1, len(found.circumstances)):
        axes.axhline(place - 0.5, lw=0.6, alpha=0.5, color=axes.xaxis.label.get_color())
