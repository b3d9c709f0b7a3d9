"""Figures of the paper's parts: means over seeds, with a band or a bar for their 95 % interval."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from eval.figures.plotting import (
    WIDTH,
    defence_axis,
    ink_colour,
    label_bottom,
    legend_handle,
    make_panels,
    panel_columns,
    percent_axis,
    theme,
    to_png,
)
from eval.paper.cost import PHASES, critical_path, together
from eval.paper.rows import Row, attacks_of, looks_of, values
from eval.results.intervals import interval
from eval.results.style import (
    HONEST_COLOUR,
    MALICIOUS_COLOUR,
    NO_ATTACK,
    Look,
    attack_label,
)
from eval.tables.paper import PAPER

# Phases of a round in Okabe's and Ito's colours.
PHASE_COLOURS = dict(
    zip(
        PHASES,
        ("#0072B2", "#F0E442", "#D55E00", "#E69F00", "#56B4E9", "#009E73", "#CC79A7"),
        strict=True,
    )
)


class Axis(NamedTuple):
    """What the axes of a figure are called, and whether the upright one is in percent."""

    title: str
    across: str
    upright: str
    percent: bool = True


class Curve(NamedTuple):
    """A line of points (x, values over seeds)."""

    look: Look
    points: list[tuple[float, list[float]]]


def over_rounds(
    rows: Sequence[Row], series: str, axis: Axis, attacks: Sequence[str], dark: bool = False
) -> bytes | None:
    """A series of the cells' histories by round, one panel an attack, one line a method.

    None where no cell has it.
    """
    panels = {
        attack: [
            Curve(look, _series(_cells(rows, look.name, attack), series)) for look in looks_of(rows)
        ]
        for attack in attacks
    }
    return _draw({attack_label(name): curves for name, curves in panels.items()}, axis, dark)


def over_shares(rows: Sequence[Row], measure: str, axis: Axis, dark: bool = False) -> bytes | None:
    """A measure against the share of malicious hospitals, one panel an attack."""
    panels = {}
    for attack in attacks_of(rows):
        shares = sorted({row["malicious"] for row in rows if row["attack"] == attack})
        panels[attack_label(attack)] = [
            Curve(
                look,
                [
                    (x, values(rows, measure, defence=look.name, attack=attack, malicious=x))
                    for x in shares
                ],
            )
            for look in looks_of(rows)
        ]

    def ticks(axes: Axes) -> None:
        axes.set_xticks(sorted({row["malicious"] for row in rows if row["attack"] != NO_ATTACK}))
        percent_axis(axes.xaxis)

    return _draw(panels, axis, dark, ticks)


def reputations(rows: Sequence[Row], dark: bool = False) -> bytes | None:
    """Reputation by round: the median of honest and of malicious hospitals, all seeds together."""
    cells = [row for row in rows if row["reputation"] and row["attack"] != NO_ATTACK]
    if not cells:
        return None
    shown = [look for look in looks_of(rows) if any(row["defence"] == look.name for row in cells)]
    attacks = attacks_of(cells)
    places = [(look, attack) for look in shown for attack in attacks]
    with theme(dark):
        figure = Figure(figsize=(WIDTH, 0.8 + 1.9 * len(shown)), layout="constrained")
        panels = make_panels(
            figure, len(shown), len(attacks), len(places), sharex=True, sharey=True
        )
        for axes, (look, attack) in zip(panels, places, strict=True):
            own = _cells(cells, look.name, attack)
            for bad, colour in ((False, HONEST_COLOUR), (True, MALICIOUS_COLOUR)):
                _reputation_band(axes, own, bad, colour)
            axes.set_title(f"{look.label}\n{attack_label(attack)}", loc="left", fontsize=8.5)
            axes.set_ylim(-0.03, 1.05)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        label_bottom(panels, len(attacks), "round")
        handles = [
            Line2D([], [], color=HONEST_COLOUR, label="honest hospitals, median and quartiles"),
            Line2D([], [], color=MALICIOUS_COLOUR, ls=(0, (4, 1.5)), label="malicious hospitals"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        figure.suptitle("Reputation over rounds")
        return to_png(figure)


def beside_paper(rows: Sequence[Row], dark: bool = False) -> bytes | None:
    """Accuracy and raw attack success by method: bars are ours, diamonds the paper's numbers."""
    named = {row["defence"]: row["paper_method"] for row in rows}
    shown = looks_of(rows)
    panels = [(NO_ATTACK, "accuracy"), *((each, "attack_success_raw") for each in attacks_of(rows))]
    with theme(dark):
        figure = Figure(figsize=(WIDTH, 1.4 + 0.3 * len(shown)), layout="constrained")
        grid = make_panels(figure, 1, len(panels), len(panels), sharey=True)
        for axes, (attack, measure) in zip(grid, panels, strict=True):
            for place, look in enumerate(shown):
                found = values(rows, measure, defence=look.name, attack=attack)
                if found:
                    mean, low, high = interval(found)
                    error = None if math.isnan(low) else [[mean - low], [high - mean]]
                    axes.barh(
                        place,
                        mean,
                        xerr=error,
                        color=look.colour,
                        height=0.62,
                        error_kw={"ecolor": ink_colour(), "lw": 1.0},
                    )
                key = "accuracy" if attack == NO_ATTACK else attack
                paper = PAPER.get(str(named[look.name]), {}).get(key)
                if paper is not None:
                    axes.plot([paper], [place], marker="D", ms=6, mfc="none", mec=ink_colour())
            axes.set_title(
                "Clean accuracy" if attack == NO_ATTACK else attack_label(attack), loc="left"
            )
            axes.set_xlim(0, 1)
            axes.set_xticks([0, 0.25, 0.5, 0.75])  # the end of a panel would touch the next one's
            percent_axis(axes.xaxis)
            axes.set_yticks(range(len(shown)), [look.label for look in shown])
            axes.set_ylim(len(shown) - 0.45, -0.55)
            axes.grid(axis="y", visible=False)
        diamond = Line2D(
            [], [], ls="", marker="D", mfc="none", mec=ink_colour(), label="the paper's"
        )
        figure.legend(handles=[diamond], loc="outside lower center")
        figure.suptitle("Accuracy, and attack success as the paper counts it")
        return to_png(figure)


def round_time(rows: Sequence[Row], dark: bool = False) -> bytes | None:
    """Seconds of a round by phase, stacked, in both readings of table 3."""
    readings = (
        ("All parties on this machine", together),
        ("Critical path of a deployment", critical_path),
    )
    shown = looks_of(rows)
    with theme(dark):
        figure = Figure(figsize=(WIDTH, 1.6 + 0.32 * len(shown)), layout="constrained")
        grid = make_panels(figure, 1, 2, 2, sharey=True)
        for axes, (title, read) in zip(grid, readings, strict=True):
            for place, look in enumerate(shown):
                cells = [read(row) for row in rows if row["defence"] == look.name]
                left = 0.0
                for phase, colour in PHASE_COLOURS.items():
                    width = sum(cell[phase] for cell in cells) / len(cells)
                    axes.barh(place, width, left=left, color=colour, height=0.62)
                    left += width
                axes.text(left, place, f" {left:.2f} s", va="center")
            axes.set_title(title, loc="left")
            axes.margins(x=0.16)
            axes.set_xlabel("seconds a round")
            defence_axis(axes, shown)
        handles = [Patch(color=colour, label=phase) for phase, colour in PHASE_COLOURS.items()]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.suptitle("Where the time of a round goes")
        return to_png(figure)


def _cells(rows: Sequence[Row], defence: str, attack: str) -> list[Row]:
    return [row for row in rows if (row["defence"], row["attack"]) == (defence, attack)]


def _series(cells: Sequence[Row], series: str) -> list[tuple[float, list[float]]]:
    """By round the values of the cells that got as far; one that stopped keeps its last."""
    lines = [cell["history"][series] for cell in cells]
    lines = [line for line in lines if any(value is not None for value in line)]
    points = []
    for index in range(max(map(len, lines), default=0)):
        found = [line[min(index, len(line) - 1)] for line in lines]
        points.append((index + 1.0, [float(value) for value in found if value is not None]))
    return [point for point in points if point[1]]


def _draw(
    panels: Mapping[str, Sequence[Curve]],
    axis: Axis,
    dark: bool,
    ticks: Callable[[Axes], object] | None = None,
) -> bytes | None:
    """One panel a name, lines with bands."""
    filled = {name: [c for c in curves if c.points] for name, curves in panels.items()}
    filled = {name: curves for name, curves in filled.items() if curves}
    if not filled:
        return None
    with theme(dark):
        columns = panel_columns(len(filled))
        lines = math.ceil(len(filled) / columns)
        figure = Figure(figsize=(WIDTH, 1.1 + 2.3 * lines), layout="constrained")
        grid = make_panels(figure, lines, columns, len(filled), sharex=True, sharey=True)
        used: dict[str, Look] = {}
        for axes, (name, curves) in zip(grid, filled.items(), strict=True):
            for curve in curves:
                used[curve.look.name] = curve.look
                _band(axes, curve)
            axes.set_title(name, loc="left")
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            if axis.percent:
                percent_axis(axes.yaxis)
            if ticks is not None:
                ticks(axes)
        handles = [legend_handle(look) for look in used.values()]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        label_bottom(grid, columns, axis.across)
        figure.supylabel(axis.upright)
        figure.suptitle(axis.title)
        return to_png(figure)


def _band(axes: Axes, curve: Curve) -> None:
    """A line of means, and their interval where there are several seeds."""
    points = [(x, *interval(found)) for x, found in curve.points if found]
    x, mean, low, high = (np.array(column) for column in zip(*points, strict=True))
    look = curve.look
    every = max(1, len(x) // 8)
    axes.plot(x, mean, color=look.colour, ls=look.dashes, marker=look.marker, markevery=every)
    if not np.isnan(low).all():
        axes.fill_between(x, low, high, color=look.colour, alpha=0.13, lw=0)


def _reputation_band(axes: Axes, cells: Sequence[Row], bad: bool, colour: str) -> None:
    """Median and quartiles of honest or malicious hospitals by round."""
    longest = max(len(cell["reputation"]) for cell in cells)
    columns = []
    for index in range(longest):
        column = []
        for cell in cells:
            line = cell["reputation"][min(index, len(cell["reputation"]) - 1)]
            seats = set(cell["malicious_seats"])
            column += [value for i, value in enumerate(line) if (i in seats) == bad]
        columns.append(column)
    if not columns or not columns[0]:
        return
    low, middle, high = np.quantile(np.array(columns), [0.25, 0.5, 0.75], axis=1)
    x = np.arange(1, longest + 1)
    axes.plot(x, middle, color=colour, ls=(0, (4, 1.5)) if bad else "-")
    axes.fill_between(x, low, high, color=colour, alpha=0.2, lw=0)
