"""Heat maps of a matrix: rules down, attacks across, each rule's worst case framed."""

from __future__ import annotations

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

import numpy as np
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from eval.figures.plotting import ink_colour, theme, to_png
from eval.results.matrix import MEASURES, Matrix, Measure
from eval.results.style import attack_label

_INCH_A_COLUMN, _INCH_A_ROW = 0.46, 0.26


def draw_matrix(matrix: Matrix, dark: bool = False) -> dict[str, bytes]:
    """Draw a heat map of every measure that has figures: key -> PNG."""
    return {
        measure.key: heat_map(matrix, measure, dark)
        for measure in MEASURES
        if not np.isnan(matrix.values[measure.key]).all()
    }


def heat_map(matrix: Matrix, measure: Measure, dark: bool = False) -> bytes:
    """One measure in percent: dark cells harm; a frame marks each rule's worst attack.

    An empty cell was not measured, a cross could not be run.
    """
    values = 100 * matrix.values[measure.key]
    shown = [j for j in range(len(matrix.attacks)) if not np.isnan(values[:, j]).all()]
    names, values = [matrix.attacks[j] for j in shown], values[:, shown]
    rules, attacks = len(matrix.rules), len(names)
    with theme(dark):
        size = max(5.0, 2.6 + _INCH_A_COLUMN * attacks), 1.9 + _INCH_A_ROW * rules
        figure = Figure(figsize=size, layout="constrained")
        axes = figure.subplots()
        harm = values if measure.worst == "highest" else -values
        low, high = float(np.nanmin(harm)), float(np.nanmax(harm))
        axes.imshow(harm, aspect="auto", cmap="OrRd", vmin=low, vmax=high + 1e-9)
        worst = matrix.worst(measure)
        for i, rule in enumerate(matrix.rules):
            for j, attack in enumerate(names):
                _cell(axes, i, j, values[i, j], (harm[i, j] - low) / (high - low + 1e-9))
                if (rule, attack) in matrix.refused:
                    axes.text(j, i, "×", ha="center", va="center", color=ink_colour(), alpha=0.4)
                if worst.get(rule) == attack:
                    axes.add_patch(
                        Rectangle((j - 0.48, i - 0.46), 0.96, 0.92, fill=False, ec="black", lw=1.4)
                    )
        axes.set_yticks(range(rules), matrix.rules)
        labels = [attack_label(attack) for attack in names]
        axes.set_xticks(range(attacks), labels, rotation=60, ha="right", rotation_mode="anchor")
        axes.grid(visible=False)
        axes.tick_params(length=0)
        share, seeds = f"{100 * matrix.malicious:.0f} % malicious", f"{matrix.seeds} seeds"
        figure.suptitle(f"{measure.title}\npercent, {share}, mean of {seeds}")
        return to_png(figure)


def _cell(axes: object, i: int, j: int, value: float, harm: float) -> None:
    if not np.isnan(value):
        colour = "white" if harm > 0.6 else "black"
        axes.text(j, i, f"{value:.0f}", ha="center", va="center", color=colour, fontsize=7)  # type: ignore[attr-defined]
