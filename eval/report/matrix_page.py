"""The HTML page of a matrix: heat maps, then a section for every rule and every attack."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np

from eval.figures.matrix import draw_matrix
from eval.report.pages import render_page
from eval.results.matrix import MEASURES, NO_ATTACK, Matrix
from eval.results.style import attack_label
from secure_fl.files import write_atomic


def write_matrix(matrix: Matrix, folder: Path) -> Path:
    """Write `matrix.html` and a PNG for every heat map; return the page's path."""
    figures = draw_matrix(matrix)
    for key, png in figures.items():
        write_atomic(folder / f"matrix_{key}.png", png)
    page = folder / "matrix.html"
    write_atomic(page, _page(matrix, figures).encode())
    return page


def _page(matrix: Matrix, figures: dict[str, bytes]) -> str:
    titles = {measure.key: measure.title for measure in MEASURES}
    worst = {measure.key: matrix.worst(measure) for measure in MEASURES}
    rules = [
        {
            "name": rule,
            "lines": [_line(matrix, worst, rule, attack, attack) for attack in matrix.attacks],
        }
        for rule in matrix.rules
    ]
    attacks = [
        {
            "name": attack_label(attack),
            "lines": [_line(matrix, worst, rule, attack, rule) for rule in matrix.rules],
        }
        for attack in matrix.attacks
    ]
    return render_page(
        "matrix.html",
        malicious=f"{100 * matrix.malicious:.0f}",
        seeds=matrix.seeds,
        figures=[
            {"title": titles[key], "png": base64.b64encode(png).decode()}
            for key, png in figures.items()
        ],
        columns=[measure.title for measure in MEASURES],
        rules=rules,
        attacks=attacks,
    )


def _line(
    matrix: Matrix, worst: dict[str, dict[str, str]], rule: str, attack: str, name: str
) -> dict[str, object]:
    label = attack_label(name) if name == attack else name
    marked = attack != NO_ATTACK
    values = [
        (_percent(matrix.value(m.key, rule, attack)), marked and worst[m.key].get(rule) == attack)
        for m in MEASURES
    ]
    return {"name": label, "values": values, "refused": matrix.refused.get((rule, attack), "")}


def _percent(value: float) -> str:
    return "–" if np.isnan(value) else f"{100 * value:.1f}"
