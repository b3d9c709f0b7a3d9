"""Figure of a defence on a task: gain and success under every attack, seed by seed, and goals."""

from __future__ import annotations

from collections.abc import Sequence

from eval.figures import mpl  # noqa: F401 - before matplotlib

# isort: split

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from eval.figures.plotting import WIDTH, ink_colour, make_panels, percent_axis, theme, to_png
from eval.paper.goals import Goal
from eval.paper.judging import Case, cases, methods, shares_of
from eval.paper.rows import Row
from eval.results.style import NO_ATTACK, Look, attack_label, method_looks
from eval.tables.averages import average


def attack_dots(rows: Sequence[Row], goal: Goal, title: str, dark: bool = False) -> bytes | None:
    """A line an attack; for each share a panel of success over clean and one of gain retained.

    Dots are seeds, bars their means, dashes the goals; None where there is no attack.

    Args:
        rows: of one task, as `defence.json` has them.
        goal: what is asked there.
        title: of the task.
        dark: on dark paper.
    """
    labels = methods(rows)
    found = {name: cases(rows, name) for name in labels}
    shares = shares_of([case for each in found.values() for case in each])
    if not shares:
        return None
    attacks = list(dict.fromkeys(case.attack for each in found.values() for case in each))
    looks = [look._replace(label=labels[look.name]) for look in method_looks(labels)]
    with theme(dark):
        figure = Figure(figsize=(WIDTH, 1.6 + 0.24 * len(attacks)), layout="constrained")
        panels = make_panels(figure, 1, 2 * len(shares), 2 * len(shares), sharey=True)
        for place, share in enumerate(shares):
            for axes, gain in ((panels[place], False), (panels[len(shares) + place], True)):
                for offset, look in enumerate(looks):
                    shift = 0.3 * (offset - (len(looks) - 1) / 2)
                    _draw(axes, found[look.name], attacks, share, gain, look, shift)
                _goals(axes, attacks, share, gain, goal)
                axes.set_title(f"{100 * share:.0f} % malicious", loc="left")
                axes.set_xlabel("federated gain kept" if gain else "success over clean")
                axes.xaxis.set_major_locator(MaxNLocator(nbins=4))
                percent_axis(axes.xaxis)
                axes.set_yticks(range(len(attacks)), [attack_label(each) for each in attacks])
                axes.set_ylim(len(attacks) - 0.4, -0.6)
        handles = [
            Line2D([], [], ls="", marker=look.marker, color=look.colour, label=look.label)
            for look in looks
        ]
        bar = Line2D([], [], ls="", marker="|", ms=9, mew=2, color=looks[0].colour)
        bar.set_label("mean of the seeds")
        handles.append(bar)
        handles.append(Line2D([], [], color=ink_colour(), ls=(0, (2, 1)), label="goal of the mean"))
        figure.legend(handles=handles, loc="outside lower center", ncols=4)
        figure.suptitle(title)
        return to_png(figure)


def _draw(
    axes: Axes,
    found: Sequence[Case],
    attacks: Sequence[str],
    share: float,
    gain: bool,
    look: Look,
    shift: float,
) -> None:
    """A method's seeds as dots, and their mean as a bar, on each attack's line."""
    for case in found:
        if case.share not in (share, 0.0):
            continue
        drawn = case.gain if gain else case.success
        place = attacks.index(case.attack) + shift
        axes.plot(
            drawn,
            [place] * len(drawn),
            ls="",
            marker=look.marker,
            ms=3.5,
            alpha=0.55,
            color=look.colour,
        )
        mean = average(drawn)
        if mean is not None:
            axes.plot([mean], [place], marker="|", ms=9, mew=2, color=look.colour)


def _goals(axes: Axes, attacks: Sequence[str], share: float, gain: bool, goal: Goal) -> None:
    """The goal of the mean on each attack's line."""
    for place, attack in enumerate(attacks):
        limit = goal.gain if gain else goal.limit(attack, share)
        if limit is not None and (gain or attack != NO_ATTACK):
            ends = [place - 0.5, place + 0.5]
            axes.plot([limit, limit], ends, color=ink_colour(), ls=(0, (2, 1)), lw=1.0)
