"""The HTML page of a matrix: heat maps, then a section for every rule and every attack."""

from __future__ import annotations

import base64
from pathlib import Path

from eval.figures.matrix import draw_matrix, map_size
from eval.report.pages import render_page
from eval.results.matrix import (
    MEASURES,
    NO_ATTACK,
    WORDS,
    WORST_HEADER,
    Matrix,
    percent,
    to_csv,
    worst_lines,
)
from eval.results.style import attack_label
from secure_fl.files import write_atomic

# Of a heat map on the page: its numbers can be read.
PIXELS_AN_INCH = 76


def write_matrix(matrix: Matrix, folder: Path) -> Path:
    """Write `matrix.html`, `matrix.csv` and a PNG for every heat map; return the page's path."""
    write_atomic(folder / "matrix.csv", to_csv(matrix).encode())
    light, dark = draw_matrix(matrix), draw_matrix(matrix, dark=True)
    for key, png in light.items():
        write_atomic(folder / f"matrix_{key}.png", png)
    page = folder / "matrix.html"
    write_atomic(page, _page(matrix, light, dark).encode())
    return page


def _page(matrix: Matrix, light: dict[str, bytes], dark: dict[str, bytes]) -> str:
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
            "harms": attack != NO_ATTACK,
            "lines": [_line(matrix, worst, rule, attack, rule) for rule in matrix.rules],
        }
        for attack in matrix.attacks
    ]
    return render_page(
        "matrix.html",
        malicious=f"{100 * matrix.malicious:.3g}",
        averaged=matrix.averaged,
        figures=[
            {
                "title": measure.title,
                "framed": bool(measure.worst),
                "light": base64.b64encode(light[measure.key]).decode(),
                "dark": base64.b64encode(dark[measure.key]).decode(),
            }
            for measure in MEASURES
            if measure.key in light
        ],
        map_width=round(PIXELS_AN_INCH * map_size(len(matrix.rules), len(matrix.attacks))[0]),
        worst_header=WORST_HEADER,
        words=WORDS,
        worst=worst_lines(matrix),
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
        (percent(matrix.value(m.key, rule, attack)), marked and worst[m.key].get(rule) == attack)
        for m in MEASURES
    ]
    return {"name": label, "values": values, "refused": matrix.refused.get((rule, attack), "")}
