"""Heat maps of a matrix: rules down, attacks across, each rule's worst case framed."""

from __future__ import annotations

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eval.figures.plotting import ink_colour, theme, to_png
from eval.results.matrix import MEASURES, Matrix, Measure
from eval.results.style import NO_ATTACK, attack_label

_INCH_A_COLUMN, _INCH_A_ROW = 0.33, 0.26


def draw_matrix(matrix: Matrix, dark: bool = False) -> dict[str, bytes]:
    """Draw a heat map of every measure that has figures: key -> PNG."""
    return {
        measure.key: heat_map(matrix, measure, dark)
        for measure in MEASURES
        if not np.isnan(_attacked(matrix, measure)).all()
    }


def _attacked(matrix: Matrix, measure: Measure) -> np.ndarray:
    """A measure's values, without the clean run where nobody is to be named."""
    kept = [bool(measure.worst) or name != NO_ATTACK for name in matrix.attacks]
    return matrix.values[measure.key][:, kept]


def map_size(rules: int, attacks: int) -> tuple[float, float]:
    """Width and height of a heat map, inches."""
    return max(5.0, 2.6 + _INCH_A_COLUMN * attacks), 1.9 + _INCH_A_ROW * rules


def heat_map(matrix: Matrix, measure: Measure, dark: bool = False) -> bytes:
    """One measure in percent: dark cells harm; a frame marks each rule's worst attack.

    A dash was not measured, a cross could not be run. Rules and attacks without any figure are left
    out, but for rules that were refused somewhere, in the measures of harm; so is the clean run
    where nobody is to be named.
    """
    values = 100 * matrix.values[measure.key]
    harmless = {NO_ATTACK} if not measure.worst else set()
    across = [
        j
        for j, name in enumerate(matrix.attacks)
        if name not in harmless and not np.isnan(values[:, j]).all()
    ]
    refused = {rule for rule, _ in matrix.refused}
    down = [
        i
        for i, rule in enumerate(matrix.rules)
        if not np.isnan(values[i, across]).all() or (measure.worst and rule in refused)
    ]
    values = values[np.ix_(down, across)]
    listed, names = [matrix.rules[i] for i in down], [matrix.attacks[j] for j in across]
    rules, attacks = len(listed), len(names)
    with theme(dark):
        figure = Figure(figsize=map_size(rules, attacks), layout="constrained")
        axes = figure.subplots()
        harm = values if measure.worst == "highest" else -values
        low, high = float(np.nanmin(harm)), float(np.nanmax(harm))
        axes.imshow(harm, aspect="auto", cmap="OrRd", vmin=low, vmax=high + 1e-9)
        worst = matrix.worst(measure)
        for i, rule in enumerate(listed):
            for j, attack in enumerate(names):
                _cell(axes, i, j, values[i, j], (harm[i, j] - low) / (high - low + 1e-9))
                if (rule, attack) in matrix.refused:
                    _sign(axes, i, j, "×")
                elif np.isnan(values[i, j]):
                    _sign(axes, i, j, "–")
                if worst.get(rule) == attack:
                    axes.add_patch(
                        Rectangle(
                            (j - 0.48, i - 0.46),
                            0.96,
                            0.92,
                            fill=False,
                            ec=ink_colour(),
                            lw=1.6,
                            zorder=3,
                        )
                    )
        axes.set_yticks(range(rules), listed)
        labels = [attack_label(attack) for attack in names]
        axes.set_xticks(range(attacks), labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.grid(visible=False)
        axes.tick_params(length=0)
        share, seeds = f"{100 * matrix.malicious:.3g} % malicious", matrix.averaged
        figure.suptitle(f"{measure.title}\npercent, {share}, {seeds}")
        return to_png(figure)


def _sign(axes: Axes, i: int, j: int, sign: str) -> None:
    axes.text(j, i, sign, ha="center", va="center", color=ink_colour(), alpha=0.5)


def _cell(axes: Axes, i: int, j: int, value: float, harm: float) -> None:
    if not np.isnan(value):
        colour = "white" if harm > 0.6 else "black"
        axes.text(j, i, f"{round(value)}", ha="center", va="center", color=colour, fontsize=7)
