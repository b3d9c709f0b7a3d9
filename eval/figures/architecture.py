"""The picture in docs/architecture.md: who holds which rooms, and the way of one update.

usage: python -m eval.figures.architecture FILE.png
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

from eval.figures.plotting import WIDTH, theme, to_png


class Place(NamedTuple):
    """A box: a role, and the rooms whose code runs there."""

    role: str
    rooms: tuple[str, ...]
    x: float
    y: float
    width: float
    colour: str


class Step(NamedTuple):
    """An arrow: what goes from one role to another, as docs/architecture.md counts it."""

    number: int
    start: str
    end: str
    what: str


PLACES = (
    Place("hospital", ("secure_fl.hospital", "attacks"), 0.0, 3.0, 2.3, "#0072B2"),
    Place(
        "computing nodes and dealer",
        ("secure_fl.nodes", "secure_fl.mpc", "secure_fl.aggregation"),
        *(4.0, 3.0, 2.5, "#009E73"),
    ),
    Place(
        "coordinator",
        ("secure_fl.backends", "secure_fl.server"),
        *(4.0, 1.3, 2.5, "#E69F00"),
    ),
    Place(
        "chain",
        ("ledger.contracts", "ledger.protocol", "ledger.chains", "ledger.client"),
        *(0.0, 1.3, 2.3, "#CC79A7"),
    ),
    Place(
        "experimenter",
        ("secure_fl.simulation", "secure_fl.settings", "eval", "ledger.audit"),
        *(7.9, 2.15, 2.2, "#7F7F7F"),
    ),
)
STEPS = (
    Step(1, "hospital", "chain", "signed commitment"),
    Step(2, "hospital", "computing nodes and dealer", "shares"),
    Step(3, "computing nodes and dealer", "chain", "what opened"),
    Step(4, "computing nodes and dealer", "coordinator", "flags, update"),
    Step(5, "coordinator", "chain", "model, verdicts"),
    Step(6, "computing nodes and dealer", "experimenter", "openings"),
    Step(7, "coordinator", "experimenter", "records"),
)
_HEIGHT = 1.05
_BASES = (
    "Everywhere: secure_fl.federation, secure_fl.models, secure_fl.data, "
    "ledger.members; errors, types, seeds, files"
)


def draw(places: Sequence[Place] = PLACES, steps: Sequence[Step] = STEPS) -> bytes:
    """Draw roles as boxes and an update's way as numbered arrows; a PNG."""
    with theme(dark=False):
        figure = Figure(figsize=(WIDTH, 4.1), layout="constrained")
        axes = figure.add_subplot()
        axes.set_axis_off()
        axes.set_xlim(-0.1, 10.2)
        axes.set_ylim(0.75, 4.35)
        boxes = {place.role: place for place in places}
        for place in places:
            _box(axes, place)
        for step in steps:
            _arrow(axes, boxes[step.start], boxes[step.end], step)
        axes.text(5.0, 0.9, _BASES, ha="center", fontsize=8)
        return to_png(figure)


def _box(axes: Axes, place: Place) -> None:
    style = "round,pad=0,rounding_size=0.08"
    corner = (place.x, place.y)
    axes.add_patch(
        FancyBboxPatch(
            corner, place.width, _HEIGHT, boxstyle=style, fc="none", ec=place.colour, lw=1.6
        )
    )
    middle, top = place.x + place.width / 2, place.y + _HEIGHT
    axes.text(middle, top - 0.09, place.role, ha="center", va="top", weight="bold", fontsize=9)
    rooms = "\n".join(place.rooms)
    axes.text(middle, top - 0.32, rooms, ha="center", va="top", fontsize=8, family="monospace")


def _arrow(axes: Axes, start: Place, end: Place, step: Step) -> None:
    tail, head = _edge(start, end), _edge(end, start)
    axes.annotate("", head, tail, arrowprops={"arrowstyle": "-|>", "lw": 1.3, "color": "#444444"})
    middle = ((tail[0] + head[0]) / 2, (tail[1] + head[1]) / 2)
    axes.text(
        *middle,
        f"{step.number} {step.what}",
        ha="center",
        va="center",
        fontsize=8,
        bbox={"boxstyle": "round,pad=0.15", "fc": "white", "ec": "none"},
    )


def _edge(place: Place, other: Place) -> tuple[float, float]:
    """Where the line between two boxes' middles leaves the first."""
    x, y = place.x + place.width / 2, place.y + _HEIGHT / 2
    dx, dy = other.x + other.width / 2 - x, other.y + _HEIGHT / 2 - y
    scale = min(
        place.width / 2 / abs(dx) if dx else float("inf"),
        _HEIGHT / 2 / abs(dy) if dy else float("inf"),
    )
    return x + scale * dx, y + scale * dy


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(draw())
