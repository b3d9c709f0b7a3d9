"""The figure of `secure-fl privacy`: what each layer leaves to be read."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D

from eval.bench.privacy import AGGREGATE, MODEL, RATES, UPDATE, Leak
from eval.bench.privacy_table import SEEN
from eval.figures.plotting import WIDTH, make_panels, theme, to_png
from eval.metrics.privacy import Estimate

_LOOKS = {UPDATE: ("#D55E00", "o"), AGGREGATE: ("#0072B2", "s"), MODEL: ("#009E73", "^")}
_ATTACK = "likelihood ratio"


class _Panel(NamedTuple):
    title: str
    scale: float
    baseline: float
    note: str
    figure: Callable[[Leak], Estimate]


_PANELS = (
    _Panel(
        "Reconstructed rows: median error",
        1.0,
        1.0,
        "0: exact; dotted: a guess",
        lambda leak: leak.error,
    ),
    _Panel(
        "Members: AUC",
        1.0,
        0.5,
        "dotted: by chance",
        lambda leak: leak.membership[_ATTACK].auc,
    ),
    *(
        _Panel(
            f"Members found at {100 * rate:g} % false alarms",
            100.0,
            100 * rate,
            "%; dotted: by chance",
            lambda leak, place=place: leak.membership[_ATTACK].found[place],  # type: ignore[misc]
        )
        for place, rate in enumerate(RATES)
    ),
)


def layers(found: Sequence[Leak]) -> bytes:
    """Draw the leaks as a PNG: a panel a measure, a line a protection, a mark for who sees what."""
    names = list(dict.fromkeys(leak.protection.name for leak in found))
    with theme(dark=False):
        figure = Figure(figsize=(WIDTH, 1.6 + 1.3 * len(names)), layout="constrained")
        for axes, panel in zip(
            make_panels(figure, 2, 2, len(_PANELS), sharey=True), _PANELS, strict=True
        ):
            _draw(axes, panel, found, names)
            axes.set_yticks(range(len(names)), [_label(name, found) for name in names])
            axes.set_ylim(len(names) - 0.5, -0.5)
            axes.tick_params(axis="y", length=0)
        handles = [
            Line2D([], [], color=colour, marker=marker, ls="-", label=SEEN[opened])
            for opened, (colour, marker) in _LOOKS.items()
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        return to_png(figure)


def _draw(axes: Axes, panel: _Panel, found: Sequence[Leak], names: list[str]) -> None:
    axes.axvline(panel.baseline, color="#777777", ls=":", lw=1.2)
    for leak in found:
        colour, marker = _LOOKS[leak.opened]
        y = names.index(leak.protection.name) + 0.22 * (list(_LOOKS).index(leak.opened) - 1)
        value, low, high = (panel.scale * part for part in panel.figure(leak))
        axes.plot([low, high], [y, y], color=colour, lw=1.5)
        axes.plot([value], [y], color=colour, marker=marker, ms=5)
    axes.set_title(panel.title)
    axes.set_xlabel(panel.note)
    axes.grid(axis="y", visible=False)


def _label(name: str, found: Sequence[Leak]) -> str:
    """The protection with its budgets after all rounds: of who sees updates, and aggregates."""
    update, aggregate = (
        next(
            leak.epsilon_rounds
            for leak in found
            if (leak.protection.name, leak.opened) == (name, opened)
        )
        for opened in (UPDATE, AGGREGATE)
    )
    if math.isinf(update):
        return f"{name}\nε = ∞"
    return f"{name}\nε = {update:,.0f}; MPC {aggregate:,.0f}"
