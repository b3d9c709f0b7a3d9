"""The figure of `secure-fl bench mpc --figure`: time, traffic and memory over n and d."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import LogLocator

from eval.figures.plotting import WIDTH, draw_line, legend_handle, make_panels, theme, to_png
from eval.results.growth import along, varied_sizes
from eval.results.style import Look

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
_MARKERS = "osD^vP"
# What a panel shows, and the unit of its axis.
_PANELS = {
    "seconds_online": ("Online, s", 1.0),
    "bytes_per_node_online": ("Sent, MB", 1e6),
    "peak_mib_per_node": ("Memory, MiB", 1.0),
}


def curves(rows: Sequence[dict[str, Any]]) -> bytes:
    """Draw each method's figures over the dimension and over the number of hospitals.

    Args:
        rows: what `secure-fl bench mpc --json` prints.

    Returns:
        A PNG: a line of panels for each size that was varied.
    """
    lines = varied_sizes(rows)
    methods = list(dict.fromkeys(row["method"] for row in rows))
    looks = {
        method: Look(method, method, _COLOURS[i % 6], _MARKERS[i % 6], "-")
        for i, method in enumerate(methods)
    }
    with theme(dark=False, formulas=True):
        figure = Figure(figsize=(WIDTH, 2.7 * len(lines) + 0.5), layout="constrained")
        panels = make_panels(figure, len(lines), len(_PANELS), len(lines) * len(_PANELS))
        for place, axes in enumerate(panels):
            varied, key = lines[place // len(_PANELS)], list(_PANELS)[place % len(_PANELS)]
            _panel(axes, rows, varied, key, looks)
        handles = [legend_handle(look) for look in looks.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
        return to_png(figure)


def _panel(
    axes: Axes,
    rows: Sequence[dict[str, Any]],
    varied: str,
    key: str,
    looks: dict[str, Look],
) -> None:
    """One figure over one size, the other size at its most frequent value."""
    other = "hospitals" if varied == "dim" else "dim"
    title, unit = _PANELS[key]
    for method, look in looks.items():
        points = sorted(
            (row[varied], row[key] / unit)
            for row in along(rows, varied)
            if row["method"] == method and row[key] is not None
        )
        if points:
            x, y = zip(*points, strict=True)
            draw_line(axes, x, y, look)
    axes.set_xscale("log")
    axes.set_yscale("log")
    names = {"dim": "d", "hospitals": "n"}
    axes.set_title(f"{title} ({names[other]} = {rows[0][other]:,})")
    axes.set_xlabel({"dim": "coordinates d", "hospitals": "hospitals n"}[varied])
    sizes = sorted({row[varied] for row in rows})
    axes.set_xticks(sizes, [f"{size:,}" for size in sizes])
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter("{x:,g}")
    axes.minorticks_off()
