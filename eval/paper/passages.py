"""What documents tell of kept rows beside whole tables: commands, the defence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.paper.defence import asked_sheet, attack_sheet, overall_sheets
from eval.paper.goals import TASKS
from eval.paper.judging import Case, cases, gain_text, methods, shares_of, success_text
from eval.paper.rows import FEDAVG, Row, distinct, values
from eval.results.style import NO_ATTACK, attack_label
from eval.tables.averages import average
from eval.tables.sheet import DASH, Sheet, percent
from eval.tables.summary import markdown_sheets

# The task whose attacks a document tells one by one.
SHOWN_TASK = "support2-200"


def command_block(made: Mapping[str, object], folder: str) -> str:
    """The command that made a table, or the commands of its parts, as a block of a document.

    Args:
        made: how it was made (`eval.paper.records`).
        folder: where a reader's own results are to go; those of further parts beside it.
    """
    commands = str(made["command"]).splitlines()
    places = [folder, *(f"{folder}-{part}" for part in range(2, len(commands) + 1))]
    lines = [f"{each} --out {place}" for each, place in zip(commands, places, strict=True)]
    return "\n".join(["```sh", *lines, "```", ""])


def defence_overall(rows: Sequence[Row]) -> str:
    """The goals of all tasks, a line a task."""
    return markdown_sheets(overall_sheets(rows))


def defence_attacks(rows: Sequence[Row]) -> str:
    """Every attack on one task."""
    own = [row for row in rows if row["task"] == SHOWN_TASK]
    goal = TASKS[SHOWN_TASK].goal
    shown = [attack_sheet(label, cases(own, name), goal) for name, label in methods(own).items()]
    return markdown_sheets(
        sheet._replace(title=f"{sheet.title}: {TASKS[SHOWN_TASK].title}") for sheet in shown
    )


def defence_asked(rows: Sequence[Row]) -> str:
    """The goals of one task, a line a goal, with the seeds that tell of it."""
    (task,) = distinct(rows, "task")
    seeds = distinct(rows, "seed")
    told = f"{TASKS[task].title}, seeds {min(seeds)} to {max(seeds)}"
    return markdown_sheets(
        sheet._replace(title=f"{sheet.title}: {told}")
        for name, label in methods(rows).items()
        for sheet in [asked_sheet(rows, name, label, cases(rows, name), TASKS[task].goal)]
    )


def by_task(rows: Sequence[Row]) -> str:
    """Success of one attack against each method: a line a task, a column a share of malicious
    hospitals."""
    (attack,) = (name for name in distinct(rows, "attack") if name != NO_ATTACK)
    tasks, seeds = distinct(rows, "task"), len(distinct(rows, "seed"))
    shares = sorted({row["malicious"] for row in rows if row["attack"] == attack})
    made = []
    for name, label in methods(rows).items():
        body = []
        for task in tasks:
            found = cases([row for row in rows if row["task"] == task], name)
            told = {case.share: success_text(case) for case in found if case.attack == attack}
            body.append([TASKS[task].title, *(told.get(share, DASH) for share in shares)])
        base = average(values(rows, "base_rate", method=name, attack=attack))
        note = (
            f"Success over the clean model with the same trigger, points: mean of {seeds} seeds, "
            "in brackets the worst. Of clean models the same triggers reach "
            f"{percent(base)} in the mean, which is not counted."
        )
        header = ["Task", *(f"{100 * share:.0f} %" for share in shares)]
        made.append(Sheet(f"{label}, {attack_label(attack).lower()}", header, body, note))
    return markdown_sheets(made)


def variants(rows: Sequence[Row]) -> str:
    """Methods beside each other, task by task, at the largest share of malicious hospitals."""
    tasks = distinct(rows, "task")
    return markdown_sheets(
        _variants(task, [row for row in rows if row["task"] == task]) for task in tasks
    )


def _variants(task: str, rows: Sequence[Row]) -> Sheet:
    found = {name: cases(rows, name) for name in methods(rows)}
    share = max(share for each in found.values() for share in shares_of(each))
    attacks = list(dict.fromkeys(row["attack"] for row in rows if row["attack"] != NO_ATTACK))
    body = []
    for name, label in methods(rows).items():
        own: dict[str, Case] = {
            case.attack: case for case in found[name] if case.share in (0.0, share)
        }
        line = [gain_text(own[each]) if each in own else DASH for each in (NO_ATTACK, *attacks)]
        line += [success_text(own[each]) if each in own else DASH for each in attacks]
        body.append([label, *line])
    named = [attack_label(each) for each in attacks]
    header = ["Variant", "Gain: no attack", *(f"Gain: {each.lower()}" for each in named)]
    seeds = len(distinct(rows, "seed"))
    told = len(values(rows, "gain_retained", method=FEDAVG, attack=NO_ATTACK))
    note = (
        f"{seeds} seeds, {told} of which tell a gain; means, in brackets the lowest gain and the "
        "highest success of a seed."
    )
    title = f"{TASKS[task].title}, {100 * share:.0f} % malicious"
    return Sheet(title, [*header, *(f"Success: {n.lower()}" for n in named)], body, note)
