"""Tables of a defence on its tasks: what it keeps, what it lets through, whom it finds, and what of
that is asked. They are made from rows as `defence.json` has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from eval.paper.goals import ALLOWED, FOUND_PRECISION, FOUND_RECALL, MOST_HONEST, TASKS, Goal
from eval.paper.judging import (
    STANDINGS,
    Case,
    cases,
    criteria,
    gain_text,
    methods,
    over_public,
    shares_of,
    shares_text,
    standing,
    success_text,
)
from eval.paper.rows import FEDAVG, Row, distinct, values
from eval.results.style import ALONE, NO_ATTACK, attack_label
from eval.tables.averages import average
from eval.tables.sheet import DASH, Sheet, decimals, percent

GAIN_NOTE = (
    "Gain: federated gain retained, (AUC - AUC of root only) / (AUC of FedAvg without attack - "
    "AUC of root only), of seeds in which FedAvg gains at least a point; mean, and in brackets the "
    "lowest seed."
)
PUBLIC_NOTE = (
    "Root only: half A of the validators' rows, tuned as guarded; public rows only: both halves "
    "with their labels, tuned as distilled, without any hospital; over public rows: the same share "
    "of what FedAvg gains over these, of seeds in which that is at least a point."
)
SUCCESS_NOTE = (
    "Success: attack success over the clean model of the same method and seed, in points; mean, "
    "and in brackets the worst seed."
)
STANDING_NOTE = (
    "Found: the malicious hospitals are named with precision and recall that reach their goals; "
    "contained: success keeps to its goals, in the mean and in every seed."
)


def overall_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """Sheets of each method with a line a task: gain, success and names at the attack that is
    farthest from the goal, what is missed, and which attacks are found or contained."""
    made = []
    for name, label in methods(rows).items():
        tasks = distinct([row for row in rows if row["method"] == name], "task")
        own = {task: [row for row in rows if row["task"] == task] for task in tasks}
        made.append(_gains(own, name, f"{label}, {_seeds(rows)}"))
        if any(row["method"] == name and row["attack"] != NO_ATTACK for row in rows):
            made.append(_successes(own, name, f"{label}, {_seeds(rows)}"))
            made.append(_standings(own, name, label))
        made.append(_missed(own, name, label))
    return made


def task_sheets(rows: Sequence[Row]) -> list[Sheet]:
    """What is asked of each method on one task beside what it does, and every attack by itself."""
    (task,) = distinct(rows, "task")
    made = []
    for method, label in methods(rows).items():
        found = cases(rows, method)
        made.append(asked_sheet(rows, method, label, found, TASKS[task].goal))
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
        f"{GAIN_NOTE} {SUCCESS_NOTE} Precision, recall, honest named: of hospital-rounds, means "
        f"over seeds and shares. {STANDING_NOTE} Two verdicts: of the smaller and of the larger "
        "share.",
        words=("Attackers",),
    )


def asked_sheet(
    rows: Sequence[Row], method: str, label: str, found: Sequence[Case], goal: Goal
) -> Sheet:
    """A line a goal of one task: what is measured, under which attack, and what is missed."""
    aucs = zip(("FedAvg", label, "root only", "public rows only"), _aucs(rows, method), strict=True)
    body = [[f"AUC of {name}", told, DASH, DASH, DASH] for name, told in aucs]
    for each in criteria(found, goal):
        verdict = DASH if each.missed is None else each.missed or "met"
        body.append([each.name, each.told, each.under, each.goal, verdict])
    beyond = shares_text(over_public(rows, method))
    body.append(["Gain over public rows, without attack", beyond, DASH, DASH, DASH])
    told = max((len(case.gain) for case in found), default=0)
    size = average([row["root_rows"] for row in rows])
    return Sheet(
        f"{label} against its goals, {_seeds(rows)}",
        ["Measure", "Measured", "Under", "Goal", "Missed by"],
        body,
        f"{GAIN_NOTE} {PUBLIC_NOTE} {SUCCESS_NOTE} {told} of {_seeds(rows)} told a gain; the root "
        f"has {size:.0f} rows in the mean. Under: the attack that is farthest from the goal, or "
        "least within it.",
        words=("Under",),
    )


def _gains(own: Mapping[str, Sequence[Row]], method: str, title: str) -> Sheet:
    body = []
    for name, rows in own.items():
        calm, lowest, *_ = criteria(cases(rows, method), TASKS[name].goal)
        size = average([row["root_rows"] for row in rows])
        beyond = shares_text(over_public(rows, method))
        told = [calm.told, lowest.told, lowest.under, calm.goal, beyond]
        seeds = str(len(distinct(rows, "seed")))
        body.append([TASKS[name].title, seeds, f"{size:.0f}", *_aucs(rows, method), *told])
    header = ["Task", "Seeds", "Root rows", "AUC: FedAvg", "AUC: method", "AUC: root only"]
    header += ["AUC: public rows only"]
    header += ["Gain: no attack", "Gain: lowest", "Under", "Goal", "Over public rows"]
    note = f"{GAIN_NOTE} Lowest gain: of the attack with the lowest mean. {PUBLIC_NOTE}"
    return Sheet(f"{title}: federated gain", header, body, note, words=("Under",))


def _successes(own: Mapping[str, Sequence[Row]], method: str, title: str) -> Sheet:
    found = {name: cases(rows, method) for name, rows in own.items()}
    shares = sorted({share for each in found.values() for share in shares_of(each)})
    shorts = [*(f"{100 * share:.0f} %" for share in shares), "any seed"]
    body = []
    for name, each in found.items():
        goal = TASKS[name].goal
        told = {asked.short: asked.told for asked in criteria(each, goal)}
        limits = [goal.success.get(share) for share in shares]
        most = " / ".join(DASH if limit is None else f"{100 * limit:g}" for limit in limits)
        line = [told.get(short, DASH) for short in shorts]
        named = [told["honest named"], told["found"]]
        body.append([TASKS[name].title, *line, f"≤ {most} ({100 * goal.worst:g})", *named])
    header = ["Task", *(f"Success: {short}" for short in shorts), "Goal", "Honest named", "Found"]
    note = (
        f"{SUCCESS_NOTE} Each figure: of the attack that is farthest from its goal, or least "
        f"within it; {_allowed()}. Honest named: goal ≤ {100 * MOST_HONEST:g}%. Found: attacks, at "
        f"each share, whose hospitals are named with precision ≥ {FOUND_PRECISION:g} and recall ≥ "
        f"{FOUND_RECALL:g}; asked of those that are not contained."
    )
    return Sheet(f"{title}: attacks and attackers", header, body, note)


def _missed(own: Mapping[str, Sequence[Row]], method: str, label: str) -> Sheet:
    """What of the goals is missed, by how much and under which attack."""
    body = []
    for name, rows in own.items():
        told = [
            f"{each.short} {each.missed}" + (f" ({each.under})" if each.under != DASH else "")
            for each in criteria(cases(rows, method), TASKS[name].goal)
            if each.missed
        ]
        body.append([TASKS[name].title, "; ".join(told) or "nothing"])
    return Sheet(f"{label}: goals missed", ["Task", "Missed"], body, words=("Missed",))


def _standings(own: Mapping[str, Sequence[Row]], method: str, label: str) -> Sheet:
    """Names of attacks by their standing, a line a task; of those that differ by share with it."""
    body = []
    for name, rows in own.items():
        found = [case for case in cases(rows, method) if case.attack != NO_ATTACK]
        told: dict[str, list[str]] = {words: [] for words in STANDINGS}
        for attack in dict.fromkeys(case.attack for case in found):
            here = [case for case in found if case.attack == attack]
            words = [standing(case, TASKS[name].goal) for case in here]
            if len(set(words)) == 1:
                told[words[0]].append(attack_label(attack))
                continue
            for case, word in zip(here, words, strict=True):
                told[word].append(case.name)
        body.append([TASKS[name].title, *(", ".join(told[words]) or DASH for words in STANDINGS)])
    named = tuple(words[0].upper() + words[1:] for words in STANDINGS)
    title = f"{label}: attackers found, attacks contained"
    return Sheet(title, ["Task", *named], body, STANDING_NOTE, words=named)


def _aucs(rows: Sequence[Row], method: str) -> list[str]:
    """Of FedAvg, the method, root only and all public rows alone, without attack."""
    named = (FEDAVG, method, *ALONE)
    return [decimals(average(values(rows, "auc", method=each, attack=NO_ATTACK))) for each in named]


def _allowed() -> str:
    """Which attacks have wider limits."""
    told = [f"{attack_label(name).lower()} {100 * more:g} points" for name, more in ALLOWED.items()]
    return f"allowed beyond the goal: {', '.join(told)}"


def _seeds(rows: Sequence[Row]) -> str:
    """How many: "5 seeds", or of tasks that differ "2 to 5 seeds"."""
    tasks = distinct(rows, "task")
    counts = [len({row["seed"] for row in rows if row["task"] == task}) for task in tasks]
    least, most = min(counts), max(counts)
    several = str(most) if least == most else f"{least} to {most}"
    return f"{several} seed{'s' if most > 1 else ''}"
