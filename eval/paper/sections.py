"""What a part of the paper shows: its tables and figures, and what the paper says there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from eval.paper import cost, curves, defence, dots, dynamics, sheets
from eval.paper.curves import Axis
from eval.paper.goals import TASKS
from eval.paper.parts import PARTS
from eval.paper.rows import Row, attacks_of, compared, distinct, judged
from eval.results.style import NO_ATTACK
from eval.tables.sheet import Sheet

# A figure by its name: drawn on light or dark paper, None where there is nothing to draw.
Draw = Callable[[bool], bytes | None]

# What the paper says where its figure is. Its pictures have no numbers in its text.
SAYS: Mapping[str, str] = {
    "table1": "20 hospitals (section 4.1: ten), 10 to 40 % of them malicious, five local epochs, "
    "learning rate 0.001, 200 rounds, clipping at 1.0, a tenth of the data for validation.",
    "table2": "Clean accuracy within a point of FedAvg's; success of at most 0.08 (label flip), "
    "0.12 (sign flip) and 0.17 (backdoor) under the proposed framework.",
    "section41": "Ten virtual hospitals, Dirichlet(0.3), five local epochs, batches of 32, five "
    "validating nodes.",
    "fig3": "Stable convergence of the accuracy in a normal situation, and a significant "
    "decrease of attack success where robust aggregation and the ledger are used.",
    "fig4": "FedAvg degrades quickly with the share of malicious hospitals; the framework's curves "
    "are almost flat up to 30 %, and success stays below 20 %.",
    "adaptive": "The framework holds where attackers change the sizes of their updates to pass the "
    "clipping of norms; cosine filtering finds directions, the median subtle changes.",
    "reputation": "Malicious members quickly lose their weight after repeated detection.",
    "fig5": "FedAvg's accuracy contracts as soon as the attack starts; the framework's stays.",
    "drift": "Lists drift detection among its measures, and reports none.",
    "defence": "",
    "table3": "Communication 1.00, 1.10, 1.00 and 1.13 times FedAvg's, computation 1.00, 1.05, "
    "1.12 and 1.15 times, finality 320 ms; local training dominates a round.",
}


@dataclass(frozen=True)
class Section:
    """A part on one data set.

    Attributes:
        part: name.
        data: data set, or task; empty for a table of settings, and of all tasks together.
        sheets: tables.
        figures: by name within the section.
        heading: of a task.
    """

    part: str
    data: str
    sheets: list[Sheet]
    figures: dict[str, Draw] = field(default_factory=dict)
    heading: str = ""


def sections(part: str, rows: Sequence[Row]) -> list[Section]:
    """Sections of a part, one for each data set, from rows of `eval.paper.cells.run_parts`.

    Of a part that shows tasks: all of them together, then one for each.
    """
    if PARTS[part].tasks:
        return _task_sections(part, judged(rows))
    made = []
    for data in distinct(rows, "data"):
        own = compared([row for row in rows if row["data"] == data])
        shown = [each._replace(title=f"{each.title}; {data}") for each in _SHEETS[part](own)]
        made.append(Section(part, data, shown, _figures(part, own)))
    return made


def _task_sections(part: str, rows: Sequence[Row]) -> list[Section]:
    made = [Section(part, "", defence.overall_sheets(rows))]
    for name in distinct(rows, "task"):
        own, task = [row for row in rows if row["task"] == name], TASKS[name]
        shown = [each._replace(title=f"{each.title}; {name}") for each in defence.task_sheets(own)]
        drawn: dict[str, Draw] = {"attacks": partial(dots.attack_dots, own, task.goal, task.title)}
        made.append(Section(part, name, shown, drawn, task.title))
    return made


def _over_rounds(rows: Sequence[Row], series: str, axis: Axis, attacks: Sequence[str]) -> Draw:
    return lambda dark: curves.over_rounds(rows, series, axis, attacks, dark)


def _figures(part: str, rows: Sequence[Row]) -> dict[str, Draw]:
    attacked = attacks_of(rows)
    accuracy = Axis("Accuracy over rounds", "round", "accuracy on the test rows")
    success = Axis("Attack success over rounds", "round", "attack success, raw")
    loss = Axis("Loss over rounds", "round", "loss on the validators' rows", percent=False)
    share = Axis(
        "Attack success against the share of malicious hospitals",
        "share of malicious hospitals",
        "attack success over the clean model",
    )
    drift = Axis("Drift over rounds", "round", "relative movement of the model", percent=False)
    drawn: dict[str, dict[str, Draw]] = {
        "table2": {
            "beside_paper": lambda dark: curves.beside_paper(rows, dark),
            "loss": _over_rounds(rows, "loss", loss, [NO_ATTACK, *attacked]),
        },
        "section41": {"beside_paper": lambda dark: curves.beside_paper(rows, dark)},
        "fig3": {
            "accuracy": _over_rounds(rows, "test_accuracy", accuracy, [NO_ATTACK]),
            "success": _over_rounds(rows, "attack_success", success, attacked),
        },
        "fig4": {
            "success": lambda dark: curves.over_shares(rows, "attack_success_excess", share, dark)
        },
        "adaptive": {},
        "reputation": {"reputation": lambda dark: curves.reputations(rows, dark)},
        "fig5": {
            "accuracy": _over_rounds(rows, "test_accuracy", accuracy, attacked),
            "success": _over_rounds(rows, "attack_success", success, attacked),
        },
        "table3": {"round_time": lambda dark: curves.round_time(rows, dark)},
        "drift": {"drift": _over_rounds(rows, "drift", drift, [NO_ATTACK, *attacked])},
    }
    return drawn.get(part, {})


def _after_the_rounds(sheet: Sheet) -> Sheet:
    """A table of final models beside curves of those of the rounds."""
    said = "The curves show the models of the rounds; the table that after a last tuning, if any."
    return sheet._replace(note=f"{sheet.note} {said}")


_SHEETS: Mapping[str, Callable[[Sequence[Row]], list[Sheet]]] = {
    "table2": sheets.table2_sheets,
    "section41": sheets.table2_sheets,
    "fig3": lambda rows: [_after_the_rounds(sheets.beside_paper(rows))],
    "fig4": lambda rows: [dynamics.share_sheet(rows)],
    "adaptive": lambda rows: [
        sheets.excess_sheet(rows),
        sheets.degradation_sheet(rows),
        sheets.detection_sheet(rows),
    ],
    "reputation": lambda rows: [dynamics.suspension_sheet(rows)],
    "fig5": lambda rows: [dynamics.lowest_sheet(rows)],
    "drift": lambda rows: [dynamics.drift_sheet(rows)],
    "table3": cost.cost_sheets,
}
