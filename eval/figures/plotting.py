"""How every figure looks: theme, panels, lines, and a PNG without time stamps."""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import Any

from eval.figures.mpl import mpl  # before the rest of matplotlib

# isort: split

import numpy as np
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter

from eval.results.style import Look

DPI = 130
# matplotlib's own settings, whatever a file `matplotlibrc` in the current directory says.
_DRAWN = (
    *("agg.", "axes.", "errorbar.", "figure.", "font.", "grid.", "hatch.", "image.", "legend."),
    *(
        "lines.",
        "markers.",
        "mathtext.",
        "patch.",
        "path.",
        "savefig.",
        "text.",
        "xtick.",
        "ytick.",
    ),
)
_OWN = {key: value for key, value in mpl.rcParamsDefault.items() if key.startswith(_DRAWN)}
WIDTH = 9.0  # inches


def draw_line(axes: Axes, x: Sequence[float], y: Sequence[float], look: Look) -> None:
    """Draw one defence's line; markers thin out where there are many points."""
    every = max(1, len(x) // 8)
    axes.plot(x, y, color=look.colour, ls=look.dashes, marker=look.marker, markevery=every)


def legend_handle(look: Look) -> Line2D:
    """Legend entry of a defence."""
    return Line2D([], [], color=look.colour, ls=look.dashes, marker=look.marker, label=look.label)


def defence_axis(axes: Axes, names: Sequence[Look]) -> None:
    """Put one defence a line on the vertical axis, first on top."""
    axes.set_yticks(range(len(names)), [look.label for look in names])
    axes.set_ylim(len(names) - 0.45, -0.55)
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="y", visible=False)


def percent_axis(axis: Axis) -> None:
    """Write shares as percent, with no more digits than a tick has: "1.5%", "77%"."""

    def words(value: float, _: int | None) -> str:
        return f"{round(100 * value, 2):g}%".replace("-", "−")

    axis.set_major_formatter(FuncFormatter(words))


def panel_columns(count: int, most: int = 4) -> int:
    """Panels a line: the fewest empty places among `most` and one less, wider lines first."""
    if count <= most:
        return count
    return min((most, most - 1), key=lambda columns: (-count % columns, -columns))


def label_bottom(panels: Sequence[Axes], columns: int, text: str) -> None:
    """Label the horizontal axis of each panel that has none below it."""
    for axes in panels[-columns:]:
        axes.set_xlabel(text)


def make_panels(parent: Any, lines: int, columns: int, count: int, **shared: bool) -> list[Axes]:
    """Make a grid of axes and return the first `count`; the rest are blank."""
    grid = np.atleast_1d(parent.subplots(lines, columns, **shared)).ravel()
    for axes in grid[count:]:
        axes.set_axis_off()
    if shared.get("sharex"):
        for axes in grid[max(0, count - columns) : count]:
            axes.tick_params(axis="x", labelbottom=True)
    return list(grid[:count])


def ink_colour() -> str:
    """Text colour of the theme in force."""
    return str(mpl.rcParams["text.color"])


def theme(dark: bool, formulas: bool = False) -> AbstractContextManager[None]:
    """Set fonts and colours while the context is open.

    Args:
        dark: light ink on dark paper.
        formulas: read `$...$` as formulas, as the numbers on logarithmic axes are written. Off
            where labels come from a run's files: they are drawn as they stand.
    """
    ink, paper, faint = (
        ("#E6E6E6", "#16191D", "#3A4048") if dark else ("#1C1E21", "#FFFFFF", "#DADDE1")
    )
    return mpl.rc_context(
        {
            **_OWN,
            "text.parse_math": formulas,
            "figure.facecolor": paper,
            "axes.facecolor": paper,
            "savefig.facecolor": paper,
            "text.color": ink,
            "axes.labelcolor": ink,
            "axes.edgecolor": faint,
            "axes.titlecolor": ink,
            "xtick.color": ink,
            "ytick.color": ink,
            "grid.color": faint,
            "axes.grid": True,
            "axes.axisbelow": True,
            "axes.spines.top": False,
            "axes.spines.right": False,
            "axes.titlesize": 10,
            "axes.titleweight": "bold",
            "figure.titlesize": 12,
            "figure.titleweight": "bold",
            "figure.labelsize": 9.5,
            "font.family": "DejaVu Sans",
            "font.size": 9,
            "legend.frameon": False,
            "legend.fontsize": 9,
            "lines.linewidth": 1.7,
            "lines.markersize": 4.5,
        }
    )


def to_png(figure: Figure) -> bytes:
    """Render to PNG; equal figures give equal bytes."""
    buffer = io.BytesIO()
    # matplotlib would write its version otherwise; dates are not written to PNG by default.
    figure.savefig(buffer, format="png", dpi=DPI, metadata={"Software": None})
    return buffer.getvalue()
