"""Tables of a defence on its tasks: what it keeps, what it lets through, whom it finds, and what of
that is asked. They are made from rows as `defence.json` has them."""

from __future__ import annotations

from collections.abc import Sequence

from eval.paper.goals import FOUND_PRECISION, FOUND_RECALL, TASKS, Goal
from eval.paper.judging import (
    Case,
    cases,
    criteria,
    gain_text,
    methods,
    shares_of,
    standing,
    success_text,
)
from eval.paper.rows import FEDAVG, Row, distinct, values
from eval.results.style import NO_ATTACK, ROOT_ONLY, attack_label
from eval.tables.averages import average
from eval.tables.sheet import DASH, Sheet, decimals, percent

GAIN_NOTE = (
    "Gain: federated gain retained, (AUC - AUC of root only) / (AUC of FedAvg without attack - "
    "AUC of root only), of seeds in which FedAvg gains at least a point; mean, and in brackets the "
    "lowest seed. Success: attack success over the clean model of the same method and seed, in "
    "points; mean, and in brackets the worst seed."
)


def overall_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """A sheet a method with a line a task: its figures farthest from the goals, what is missed."""
    return [_overall(rows, name, label) for name, label in methods(rows).items()]


def task_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """What is asked of each method on one task beside what it does, and every attack by itself."""
    (task,) = distinct(rows, "task")
    made = []
    for method, label in methods(rows).items():
        found = cases(rows, method)
        made.append(_asked(rows, method, label, found, TASKS[task].goal))
        if shares_of(found):
            made.append(attack_sheet(label, found, TASKS[task].goal))
    return made


def attack_sheet(label: str, found: Sequence[Case], goal: Goal) -> Sheet:
    """A line an attack: gain and success at each share, and whom the method names."""
    shares, body = shares_of(found), []
    for attack in dict.fromkeys(case.attack for case in found):
        own = {case.share: case for case in found if case.attack == attack}
        calm = attack == NO_ATTACK
        shown = [own.get(0.0 if calm else share) for share in shares]
        line = [attack_label(attack)]
        line += [DASH if each is None else gain_text(each) for each in shown]
        line += [DASH if each is None else success_text(each) for each in shown]
        named = [] if calm else list(own.values())
        line.append(percent(average([value for case in named for value in case.precision])))
        line.append(percent(average([value for case in named for value in case.recall])))
        line.append(percent(average([value for case in own.values() for value in case.honest])))
        told = dict.fromkeys(standing(case, goal) for case in named)
        body.append([*line, "; ".join(told) or DASH])
    header = ["Attack", *(f"Gain, {100 * share:.0f} %" for share in shares)]
    header += [f"Success, {100 * share:.0f} %" for share in shares]
    return Sheet(
        f"{label}, attack by attack",
        [*header, "Precision", "Recall", "Honest named", "Attackers"],
        body,
        f"{GAIN_NOTE} Precision, recall, honest named: of hospital-rounds, means over seeds and "
        "shares. Attackers are found where precision and recall reach their goals, contained where "
        "success keeps to its own in the mean and in every seed; two verdicts: of the smaller and "
        "of the larger share.",
    )


def _asked(
    rows: Sequence[Row], method: str, label: str, found: Sequence[Case], goal: Goal
) -> Sheet:
    aucs = zip(("FedAvg", label, "root only"), _aucs(rows, method), strict=True)
    body = [[f"AUC of {name}", told, DASH, DASH, DASH] for name, told in aucs]
    for each in criteria(found, goal):
        verdict = DASH if each.missed is None else each.missed or "met"
        body.append([each.name, each.told, each.under, each.goal, verdict])
    told = max((len(case.gain) for case in found), default=0)
    size = average([row["root_rows"] for row in rows])
    return Sheet(
        f"{label} against its goals, {_seeds(rows)}",
        ["Measure", "Measured", "Under", "Goal", "Missed by"],
        body,
        f"{GAIN_NOTE} {told} of {_seeds(rows)} told a gain; the root has {size:.0f} rows in the "
        "mean. Under: the attack that is farthest from the goal, or least within it.",
    )


def _overall(rows: Sequence[Row], method: str, label: str) -> Sheet:
    own = [row for row in rows if row["method"] == method]
    shares = sorted({row["malicious"] for row in own if row["attack"] != NO_ATTACK})
    body = []
    for name in distinct(own, "task"):
        task = TASKS[name]
        here = [row for row in rows if row["task"] == name]
        asked = criteria(cases(here, method), task.goal)
        told = {each.short: each.told for each in asked}
        limits = [task.goal.success.get(share) for share in shares]
        most = " / ".join(DASH if each is None else f"{100 * each:g}" for each in limits)
        missed = [f"{each.short} {each.missed}" for each in asked if each.missed]
        body.append(
            [
                task.title,
                *_aucs(here, method),
                *(told["gain without attack"], told["gain"], f"≥ {task.goal.gain:g}"),
                *(told.get(f"{100 * share:.0f} %", DASH) for share in shares),
                *(told["any seed"], f"≤ {most} ({100 * task.goal.worst:g})"),
                *(told["honest named"], told["found"], "; ".join(missed) or "nothing"),
            ]
        )
    header = ["Task", "AUC: FedAvg", "method", "root only", "Gain: no attack", "lowest", "goal"]
    header += [f"Success: {100 * share:.0f} %" for share in shares]
    return Sheet(
        f"{label} on all tasks, {_seeds(rows)}",
        [*header, "any seed", "goal", "Honest named", "Found", "Missed"],
        body,
        f"{GAIN_NOTE} Lowest gain, success, honest named: of the attack that is farthest from the "
        f"goal. Found: attacks, at each share, whose hospitals are named with precision of at "
        f"least {FOUND_PRECISION:g} and recall of at least {FOUND_RECALL:g}.",
    )


def _aucs(rows: Sequence[Row], method: str) -> list[str]:
    """Of FedAvg, the method and root only, without attack."""
    named = (FEDAVG, method, ROOT_ONLY)
    return [decimals(average(values(rows, "auc", method=each, attack=NO_ATTACK))) for each in named]


def _seeds(rows: Sequence[Row]) -> str:
    count = len(distinct(rows, "seed"))
    return f"{count} seed{'s' if count > 1 else ''}"
