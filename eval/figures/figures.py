"""Figures of a run, one function a figure, each returning the bytes of a PNG or None.

None means that the run holds nothing to draw. Figures use matplotlib's object interface on the
Agg canvas: no global state, no display, and no time stamp in the file, so that equal runs give
equal bytes on the same versions.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from eval.figures.parties import who_holds_what
from eval.figures.plotting import (
    WIDTH,
    defence_axis,
    draw_line,
    ink_colour,
    label_bottom,
    legend_handle,
    make_panels,
    panel_columns,
    percent_axis,
    theme,
    to_png,
)
from eval.results.records import Cell, Row, Run, mean_of
from eval.results.style import (
    HONEST_COLOUR,
    MALICIOUS_COLOUR,
    NO_ATTACK,
    ROOT_ONLY,
    Look,
    attack_label,
    attack_names,
    fractions,
    headline_fraction,
    headline_words,
    looks,
)

# Parts of a round: (key in rounds.jsonl, name, colour).
_STEPS = (
    ("train", "local training", "#0072B2"),
    ("mpc_offline", "MPC, dealer", "#E69F00"),
    ("mpc_online", "MPC, nodes", "#D55E00"),
    ("server", "root training, gate", "#56B4E9"),
    ("validate", "validation", "#009E73"),
    ("ledger", "ledger", "#CC79A7"),
    ("other", "other", "#7F7F7F"),
)


def draw_all(run: Run, dark: bool = False) -> dict[str, bytes]:
    """Draw every figure for which the run has data: name -> PNG, in reading order."""
    drawn = {name: draw(run, dark=dark) for name, draw in FIGURES.items()}
    return {name: png for name, png in drawn.items() if png is not None}


def attack_success(run: Run, dark: bool = False) -> bytes | None:
    """Bars of attack success per defence, one panel an attack, at the headline fraction.

    The grey part of a bar is what the clean model shows already; the label is the excess in
    percentage points.
    """
    fraction = headline_fraction(run.rows)
    attacked = [
        row
        for row in run.rows
        if row["attack"] != NO_ATTACK
        and row["malicious_fraction"] == fraction
        and row.get("attack_success_raw") is not None
    ]
    if not attacked:
        return None
    attacks, defences = attack_names(attacked), looks(run.rows)
    with theme(dark):
        columns = panel_columns(len(attacks), most=3)
        lines = math.ceil(len(attacks) / columns)
        height = 0.9 + lines * (0.62 + 0.27 * len(defences))
        figure = Figure(figsize=(WIDTH, height), layout="constrained")
        panels = make_panels(figure, lines, columns, len(attacks))
        for index, (axes, attack) in enumerate(zip(panels, attacks, strict=True)):
            for place, look in enumerate(defences):
                row = _find(attacked, look.name, attack)
                if row is not None:
                    _success_bar(axes, place, row, look)
            axes.set_title(attack_label(attack), loc="left")
            axes.set_xlim(0, 1.25)
            axes.set_ylim(len(defences) - 0.4, -0.6)
            axes.set_xticks([0, 0.5, 1])
            percent_axis(axes.xaxis)
            axes.tick_params(axis="y", length=0)
            axes.grid(axis="y", visible=False)
            shown = index % columns == 0
            axes.set_yticks(range(len(defences)), [d.label if shown else "" for d in defences])
        label_bottom(panels, columns, "attack success rate")
        handles = [Patch(color="#A6A6A6", label="clean model's rate")]
        handles.append(Patch(color="none", label="+ percentage points that the attack adds"))
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        figure.suptitle(f"Attack success, {headline_words(run.rows)} malicious")
        return to_png(figure)


def accuracy_over_rounds(run: Run, dark: bool = False) -> bytes | None:
    """Test accuracy after each round, one panel an attack, one line a defence."""
    root = next((r for r in run.rows if r["defence"] == ROOT_ONLY), None)
    level = None if root is None else float(root["accuracy"])
    names = ("Accuracy over rounds", "accuracy on the test set")
    return _over_rounds(run, "test_accuracy", names, dark, level)


def success_over_rounds(run: Run, dark: bool = False) -> bytes | None:
    """Raw attack success after each round, one panel an attack, one line a defence."""
    names = ("Attack success over rounds", "attack success rate")
    return _over_rounds(run, "attack_success", names, dark)


def _over_rounds(
    run: Run, key: str, names: tuple[str, str], dark: bool, level: float | None = None
) -> bytes | None:
    """Draw a measure of `rounds.jsonl` by round; `names` are the title and the vertical axis.

    Round 0, the untrained model, is left out: it would press all others together. `level` is what
    the validators' root rows reach alone, drawn across all panels.
    """
    cells = [cell for cell in _headline_cells(run) if mean_of(cell.rounds, key) is not None]
    if not cells:
        return None
    attacks = list(dict.fromkeys(str(cell.row["attack"]) for cell in cells))
    attacks.sort(key=lambda name: name != NO_ATTACK)
    with theme(dark):
        columns = panel_columns(len(attacks))
        lines = math.ceil(len(attacks) / columns)
        figure = Figure(figsize=(WIDTH, 0.9 + 2.0 * lines), layout="constrained")
        panels = make_panels(figure, lines, columns, len(attacks), sharey=True, sharex=True)
        used: dict[str, Look] = {}
        for axes, attack in zip(panels, attacks, strict=True):
            for look in looks(run.rows):
                for cell in cells:
                    if (cell.row["defence"], cell.row["attack"]) == (look.name, attack):
                        used[look.name] = look
                        draw_line(axes, *_series(cell.rounds, key), look)
            if level is not None:
                axes.axhline(level, color=ink_colour(), lw=0.9, ls=(0, (2, 2)))
            axes.set_title(attack_label(attack), loc="left")
            percent_axis(axes.yaxis)
            axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
        handles = [legend_handle(look) for look in used.values()]
        if level is not None:
            dotted = Line2D([], [], color=ink_colour(), lw=0.9, ls=(0, (2, 2)), label="Root only")
            handles.append(dotted)
        figure.legend(handles=handles, loc="outside lower center", ncols=3)
        label_bottom(panels, columns, "round")
        figure.supylabel(names[1])
        figure.suptitle(names[0])
        return to_png(figure)


def success_by_fraction(run: Run, dark: bool = False) -> bytes | None:
    """Excess attack success against the malicious fraction, one panel an attack."""
    attacked = [
        row
        for row in run.rows
        if row["attack"] != NO_ATTACK and row.get("attack_success_excess") is not None
    ]
    if len(fractions(attacked)) < 2:
        return None
    attacks, defences = attack_names(attacked), looks(run.rows)
    with theme(dark):
        columns = panel_columns(len(attacks), most=3)
        lines = math.ceil(len(attacks) / columns)
        figure = Figure(figsize=(WIDTH, 0.9 + 2.3 * lines), layout="constrained")
        panels = make_panels(figure, lines, columns, len(attacks), sharey=True, sharex=True)
        for axes, attack in zip(panels, attacks, strict=True):
            for look in defences:
                points = {
                    float(row["malicious_fraction"]): float(row["attack_success_excess"])
                    for row in attacked
                    if (row["defence"], row["attack"]) == (look.name, attack)
                }
                if points:
                    x = sorted(points)
                    draw_line(axes, x, [points[value] for value in x], look)
            axes.axhline(0.0, color=ink_colour(), lw=0.8)
            axes.set_title(attack_label(attack), loc="left")
            axes.set_xticks(fractions(attacked))
            percent_axis(axes.xaxis)
            percent_axis(axes.yaxis)
        figure.legend(
            handles=[legend_handle(look) for look in defences], loc="outside lower center", ncols=3
        )
        label_bottom(panels, columns, "share of malicious hospitals")
        figure.supylabel("attack success over the clean base")
        figure.suptitle("Attack success against the malicious fraction")
        return to_png(figure)


def reputation_over_rounds(run: Run, dark: bool = False) -> bytes | None:
    """Reputation of honest and malicious hospitals: one thin line each, and their median.

    Of the methods under which some reputation moves, whether it does under each attack or not.
    """
    cells = [cell for cell in _headline_cells(run) if len(_reputations(cell)) >= 2]
    cells = [cell for cell in cells if cell.row["attack"] != NO_ATTACK]
    moved = {cell.row["defence"] for cell in cells if np.ptp(_reputations(cell)) > 0}
    cells = [cell for cell in cells if cell.row["defence"] in moved]
    if not cells:
        return None
    names = [look for look in looks(run.rows) if look.name in {c.row["defence"] for c in cells}]
    attacks = attack_names(cell.row for cell in cells)
    with theme(dark):
        columns = panel_columns(len(attacks))
        per_defence = math.ceil(len(attacks) / columns)
        figure = Figure(
            figsize=(WIDTH, 0.7 + len(names) * (0.3 + 1.6 * per_defence)), layout="constrained"
        )
        blocks = list(figure.subfigures(len(names), 1, squeeze=False).flat)
        for block, look in zip(blocks, names, strict=True):
            panels = make_panels(
                block, per_defence, columns, len(attacks), sharex=True, sharey=True
            )
            for axes, attack in zip(panels, attacks, strict=True):
                for cell in cells:
                    if (cell.row["defence"], cell.row["attack"]) == (look.name, attack):
                        _reputation_panel(axes, cell)
                axes.set_title(attack_label(attack), loc="left")
                axes.set_ylim(-0.03, 1.05)
                axes.set_yticks([0, 0.5, 1])
                axes.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=5))
            label_bottom(panels, columns, "round")
            block.suptitle(f"Reputation under {look.label}", fontsize=10.5)
            block.supylabel("reputation")
        handles = [
            Patch(color=HONEST_COLOUR, label="honest hospitals"),
            Patch(color=MALICIOUS_COLOUR, label="malicious hospitals"),
        ]
        blocks[-1].legend(handles=handles, loc="outside lower center", ncols=2)
        return to_png(figure)


def round_time(run: Run, dark: bool = False) -> bytes | None:
    """Mean seconds of a round by step, stacked, one bar a defence."""
    defences = [
        (look, _mean_seconds([c for c in run.cells if c.row["defence"] == look.name]))
        for look in looks(run.rows)
    ]
    defences = [(look, parts) for look, parts in defences if parts]
    if not defences:
        return None
    with theme(dark):
        figure = Figure(figsize=(WIDTH, 1.5 + 0.42 * len(defences)), layout="constrained")
        axes = figure.subplots()
        longest = max(sum(parts.values()) for _, parts in defences)
        for place, (_, parts) in enumerate(defences):
            left = 0.0
            for key, _, colour in _STEPS:
                width = parts.get(key, 0.0)
                axes.barh(place, width, left=left, color=colour, height=0.62)
                if width > 0.06 * longest:
                    middle = left + width / 2
                    ink = "#FFFFFF" if key in ("train", "mpc_online") else "#1C1E21"
                    axes.text(middle, place, f"{width:.2f}", ha="center", va="center", color=ink)
                left += width
            axes.text(left + 0.01 * longest, place, f"{left:.2f} s", va="center")
        axes.set_xlim(0, 1.12 * longest)
        defence_axis(axes, [look for look, _ in defences])
        axes.set_xlabel("seconds a round (mean over all cells)")
        used = {key for _, parts in defences for key, value in parts.items() if value > 0}
        handles = [Patch(color=c, label=name) for key, name, c in _STEPS if key in used]
        figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
        figure.suptitle("Where the time of a round goes")
        return to_png(figure)


def traffic(run: Run, dark: bool = False) -> bytes | None:
    """Megabytes that one node (online) and the dealer (offline) send per round."""
    bars = []
    for look in looks(run.rows):
        records = [r for cell in run.cells if cell.row["defence"] == look.name for r in cell.rounds]
        online = mean_of(records, "mpc", "bytes_online") or 0.0
        offline = mean_of(records, "mpc", "bytes_offline") or 0.0
        if online > 0 or offline > 0:
            bars.append((look, online / 1e6, offline / 1e6))
    if not bars:
        return None
    with theme(dark):
        figure = Figure(figsize=(WIDTH, 1.5 + 0.55 * len(bars)), layout="constrained")
        axes = figure.subplots()
        longest = max(max(online, offline) for _, online, offline in bars)
        for place, (_, online, offline) in enumerate(bars):
            sides = ((-0.18, online, "#D55E00"), (0.18, offline, "#E69F00"))
            for shift, size, colour in sides:
                axes.barh(place + shift, size, color=colour, height=0.34)
                axes.text(size + 0.01 * longest, place + shift, _megabytes(size), va="center")
        axes.set_xlim(0, 1.15 * longest)
        defence_axis(axes, [look for look, _, _ in bars])
        axes.set_xlabel("megabytes sent a round (mean over all cells)")
        handles = [
            Patch(color="#D55E00", label="online, by the busiest node"),
            Patch(color="#E69F00", label="offline, by the dealer"),
        ]
        figure.legend(handles=handles, loc="outside lower center", ncols=2)
        figure.suptitle("Traffic of secure computation")
        return to_png(figure)


FIGURES: dict[str, Callable[..., bytes | None]] = {
    "attack_success": attack_success,
    "success_by_fraction": success_by_fraction,
    "accuracy_over_rounds": accuracy_over_rounds,
    "success_over_rounds": success_over_rounds,
    "reputation": reputation_over_rounds,
    "who_holds_what": who_holds_what,
    "round_time": round_time,
    "traffic": traffic,
}


def _success_bar(axes: Axes, place: int, row: Row, look: Look) -> None:
    raw = float(row["attack_success_raw"])
    base = float(row.get("attack_success_base") or 0.0)
    axes.barh(place, min(raw, base), color="#A6A6A6", height=0.66)
    if raw > base:
        axes.barh(place, raw - base, left=base, color=look.colour, height=0.66)
    text = f"{100 * (raw - base):+.1f}".replace("-", "−")
    text = "0.0" if text in ("+0.0", "−0.0") else text  # as in tables
    axes.text(max(raw, base) + 0.02, place, text, va="center")


def _reputation_panel(axes: Axes, cell: Cell) -> None:
    table = _reputations(cell)  # (rounds, n)
    x = [int(record["round"]) for record in cell.rounds if record.get("reputation")]
    bad = np.isin(np.arange(table.shape[1]), list(cell.row.get("malicious") or []))
    for group, colour, dashes in (
        (table[:, ~bad], HONEST_COLOUR, "-"),
        (table[:, bad], MALICIOUS_COLOUR, (0, (4, 1.5))),
    ):
        if group.shape[1]:
            axes.plot(x, group, color=colour, ls="-", lw=0.7, alpha=0.35)
            axes.plot(x, np.median(group, axis=1), color=colour, ls=dashes)


def _reputations(cell: Cell) -> np.ndarray:
    """Reputation by round and hospital, rounds without any left out: (rounds, n)."""
    return np.array([r["reputation"] for r in cell.rounds if r.get("reputation")], dtype=float)


def _headline_cells(run: Run) -> list[Cell]:
    fraction = headline_fraction(run.rows)
    return [
        cell
        for cell in run.cells
        if cell.rounds
        and (cell.row["attack"] == NO_ATTACK or cell.row["malicious_fraction"] == fraction)
    ]


def _mean_seconds(cells: Sequence[Cell]) -> dict[str, float]:
    """Mean seconds per step over all rounds of the cells; unknown steps are summed as "other"."""
    known = {key for key, _, _ in _STEPS}
    totals: dict[str, float] = {}
    count = 0
    for cell in cells:
        for record in cell.rounds:
            if not record.get("seconds"):
                continue  # round 0 is the initial model: nothing was spent on it
            count += 1
            for key, value in record["seconds"].items():
                name = key if key in known else "other"
                totals[name] = totals.get(name, 0.0) + float(value or 0.0)
    return {key: value / count for key, value in totals.items()} if count else {}


def _series(rounds: Sequence[dict[str, Any]], key: str) -> tuple[list[float], list[float]]:
    played = (r for r in rounds if r["round"] and r.get(key) is not None)
    points = [(float(r["round"]), float(r[key])) for r in played]
    return [x for x, _ in points], [y for _, y in points]


def _find(rows: Sequence[Row], defence: str, attack: str) -> Row | None:
    found = (r for r in rows if r["defence"] == defence and r["attack"] == attack)
    return next(found, None)


def _megabytes(size: float) -> str:
    return f"{size:.3g} MB" if size < 100 else f"{size:,.0f} MB"
