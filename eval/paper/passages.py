"""What documents tell of kept rows beside whole tables: commands, single figures, the defence."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.paper.defence import asked_sheets, attack_sheet, overall_sheets
from eval.paper.goals import TASKS
from eval.paper.judging import Case, cases, gain_text, methods, shares_of, success_text
from eval.paper.rows import FEDAVG, Row, distinct, over_clean, values
from eval.results.style import NO_ATTACK, ROOT_ONLY, attack_label
from eval.tables.averages import average, mean, subtract
from eval.tables.sheet import DASH, Sheet, decimals, percent, points
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


def figures(kept: Mapping[str, Sequence[Row]], table2: Sequence[Row]) -> dict[str, str]:
    """Single figures within sentences, by their names.

    Args:
        kept: rows of runs by the name of their run.
        table2: rows of `table2.json`.
    """
    of = {data: [row for row in table2 if row["data"] == data] for data in distinct(table2, "data")}
    told = _of_table2(of["support2"], "table2")
    for data, rows in of.items():
        told |= _of_table2(rows, f"table2-{data}")
    return _of_runs(kept) | told


def _of_table2(rows: Sequence[Row], place: str) -> dict[str, str]:
    """Means over the seeds on one data set: success over clean by method and attack, AUCs, gain
    that `guarded` keeps, whom `paper` names; under names that begin with `place`."""

    def over(method: str, attack: str) -> str:
        return points(average(values(rows, over_clean, method=method, attack=attack)))

    def auc(method: str) -> str:
        return decimals(average(values(rows, "auc", method=method, attack=NO_ATTACK)))

    def named(measure: str) -> str:
        told = average(values(rows, f"detection_{measure}", method="paper", attack="backdoor"))
        return percent(told).replace("%", " %")

    gain = average(values(rows, "gain_retained", method="guarded", attack=NO_ATTACK))
    told = {
        "table2-paper-sign": over("paper", "sign_flip"),
        "table2-paper-backdoor": over("paper", "backdoor"),
        "table2-median-backdoor": over("robust", "backdoor"),
        "table2-fedavg-backdoor": over(FEDAVG, "backdoor"),
        "table2-guarded-sign": over("guarded", "sign_flip"),
        "table2-guarded-backdoor": over("guarded", "backdoor"),
        "table2-paper-recall": named("recall"),
        "table2-paper-precision": named("precision"),
        "table2-fedavg-auc": auc(FEDAVG),
        "table2-root-auc": auc(ROOT_ONLY),
        "table2-guarded-gain": DASH if gain is None else percent(gain).replace("%", " %"),
    }
    return {place + name.removeprefix("table2"): text for name, text in told.items()}


def _of_runs(kept: Mapping[str, Sequence[Row]]) -> dict[str, str]:
    main, lying = kept["main"], kept["overstated"]
    seeds = {name: rows for name, rows in kept.items() if name.startswith("seeds-")}
    adaptive = {
        name: mean(rows, "attack_success_excess", "guarded", "adaptive_backdoor", 0.4) or 0.0
        for name, rows in seeds.items()
    }
    worst = max(adaptive, key=lambda name: adaptive[name])
    lost = subtract(*(mean(main, "accuracy", FEDAVG, each) for each in (NO_ATTACK, "random_noise")))
    told = {
        "main-gain": subtract(
            *(mean(main, "auc", each, NO_ATTACK) for each in (FEDAVG, ROOT_ONLY))
        ),
        "main-noise": mean(main, "attack_success_excess", FEDAVG, "random_noise"),
        "main-noise-lost": lost,
        "overstated-backdoor": mean(lying, "attack_success_excess", FEDAVG, "backdoor"),
        "adaptive-worst": adaptive[worst],
    }
    return {name: points(value).lstrip("+") for name, value in told.items()} | {
        "main-auc": decimals(mean(main, "auc", FEDAVG, NO_ATTACK)),
        "main-flipped-auc": decimals(mean(main, "auc", FEDAVG, "label_flip")),
        "adaptive-worst-seed": worst.removeprefix("seeds-"),
    }


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


def held_out(rows: Sequence[Row]) -> str:
    """What is asked on each task beside what is measured."""
    tasks = distinct(rows, "task")
    own = ([row for row in rows if row["task"] == task] for task in tasks)
    return markdown_sheets(sheet for each in own for sheet in asked_sheets(each))


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
