"""How a defence does on a task against what is asked there (`eval.paper.goals`), from rows as
`defence.json` has them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from eval.metrics.gain import LEAST_GAIN
from eval.paper.goals import FOUND_PRECISION, FOUND_RECALL, MOST_HONEST, Goal
from eval.paper.rows import FEDAVG, Row, distinct, over_clean, values
from eval.results.style import ALONE, NO_ATTACK, PUBLIC_ONLY, attack_label
from eval.tables.averages import average
from eval.tables.sheet import DASH, percent, points

# What an attack's hospitals and the attack itself can be.
STANDINGS = ("found", "contained, not found", "found, not contained", "neither")


class Case(NamedTuple):
    """One attack at one share of malicious hospitals: figures of the seeds that have them."""

    attack: str
    share: float
    gain: list[float]
    success: list[float]
    precision: list[float]
    recall: list[float]
    honest: list[float]

    @property
    def name(self) -> str:
        """For people: "Backdoor, 40 %"."""
        label = attack_label(self.attack)
        return label if self.attack == NO_ATTACK else f"{label}, {100 * self.share:.0f} %"

    @property
    def found(self) -> bool:
        """Whether the malicious hospitals are named, nearly all and few others, in the mean."""
        precision, recall = average(self.precision), average(self.recall)
        if precision is None or recall is None:
            return False
        return precision >= FOUND_PRECISION and recall >= FOUND_RECALL


class Criterion(NamedTuple):
    """One thing that is asked, and the case that is farthest from it.

    Attributes:
        name, short: of the measure, in a line of its own and in a list.
        told: the figure; a dash where there is none.
        under: the case's name.
        goal: as text.
        missed: by how much, as text; empty where the goal is met, None without figure or goal.
    """

    name: str
    short: str
    told: str = DASH
    under: str = DASH
    goal: str = DASH
    missed: str | None = None


def methods(rows: Sequence[Row]) -> dict[str, str]:
    """Labels of the methods that are judged, by their names."""
    beside = (FEDAVG, *ALONE)
    return {row["method"]: str(row["label"]) for row in rows if row["method"] not in beside}


def cases(rows: Sequence[Row], method: str) -> list[Case]:
    """Of one method on one task: no attack, and each attack at each share."""
    own = [row for row in rows if row["method"] == method]
    keys = ("detection_precision", "detection_recall", "honest_named")
    made = []
    for attack, share in dict.fromkeys((row["attack"], row["malicious"]) for row in own):
        here = [row for row in own if (row["attack"], row["malicious"]) == (attack, share)]
        gain, success = values(here, "gain_retained"), values(here, over_clean)
        made.append(Case(attack, share, gain, success, *(values(here, key) for key in keys)))
    return made


def criteria(found: Sequence[Case], goal: Goal) -> list[Criterion]:
    """All that is asked of a method on a task, in order: gain without and under attack, success at
    each share and in any seed, honest hospitals named, attackers found."""
    calm = [case for case in found if case.attack == NO_ATTACK]
    attacked = [case for case in found if case.attack != NO_ATTACK]
    return [
        _gain("Gain without attack", "gain without attack", calm, goal),
        _gain("Gain under attack, lowest mean", "gain", attacked, goal),
        *(
            _success([case for case in attacked if case.share == share], share, goal)
            for share in shares_of(found)
        ),
        _worst(attacked, goal),
        _honest(found),
        _attackers(attacked, goal),
    ]


def over_public(rows: Sequence[Row], method: str) -> list[float]:
    """What a method keeps, without attack, of FedAvg's gain over all public rows alone: one a seed.

    (AUC - AUC of public rows only) / (AUC of FedAvg - AUC of public rows only), of seeds in which
    FedAvg gains at least `LEAST_GAIN` over them.
    """
    kept = []
    for seed in distinct(rows, "seed"):
        calm = {
            row["method"]: row["auc"]
            for row in rows
            if (row["seed"], row["attack"]) == (seed, NO_ATTACK)
        }
        if {method, FEDAVG, PUBLIC_ONLY} <= calm.keys():
            gain = calm[FEDAVG] - calm[PUBLIC_ONLY]
            if gain >= LEAST_GAIN:
                kept.append((calm[method] - calm[PUBLIC_ONLY]) / gain)
    return kept


def shares_of(found: Sequence[Case]) -> list[float]:
    """Shares of malicious hospitals, ascending."""
    return sorted({case.share for case in found if case.attack != NO_ATTACK})


def standing(case: Case, goal: Goal) -> str:
    """Whether an attack's hospitals are found, and whether it is contained: one of `STANDINGS`."""
    found, held, missed, neither = STANDINGS
    if case.found:
        return found if contained(case, goal) else missed
    return held if contained(case, goal) else neither


def contained(case: Case, goal: Goal) -> bool:
    """Whether an attack's success keeps to its limits, in the mean and in every seed.

    What has no limit in the mean, or no success, is held to the limit of any seed alone.
    """
    limit, success = goal.limit(case.attack, case.share), average(case.success)
    held = limit is None or success is None or success <= limit
    return held and max(case.success, default=0.0) <= goal.worst_limit(case.attack)


def gain_text(case: Case) -> str:
    """The mean over seeds, and the lowest: "0.91 (0.78)"."""
    return shares_text(case.gain)


def shares_text(kept: Sequence[float]) -> str:
    """Mean and lowest of shares of a gain; a dash where there is none."""
    return _pair(kept, min, lambda value: f"{value:.2f}".replace("-", "−"))


def success_text(case: Case) -> str:
    """The mean over seeds, and the worst: "+4.0 (6.2)"."""
    return _pair(case.success, max, points)


def _gain(name: str, short: str, found: Sequence[Case], goal: Goal) -> Criterion:
    blank = Criterion(name, short, goal=f"≥ {goal.gain:g}")
    case, gap = _farthest(found, lambda case: _less(goal.gain, average(case.gain)))
    if case is None:
        return blank
    missed = _missed(gap, f"{gap:.2f}")
    return blank._replace(told=gain_text(case), under=case.name, missed=missed)


def _success(found: Sequence[Case], share: float, goal: Goal) -> Criterion:
    blank = Criterion(f"Success at {100 * share:.0f} %, highest mean", f"{100 * share:.0f} %")
    limited = share in goal.success

    def over(case: Case) -> float | None:
        return _less(average(case.success), goal.limit(case.attack, share) if limited else 0.0)

    case, gap = _farthest(found, over)
    if case is None:
        return blank
    told = blank._replace(told=success_text(case), under=case.name)
    limit = goal.limit(case.attack, share)
    if limit is None:
        return told
    return told._replace(goal=f"≤ {100 * limit:g}", missed=_missed(gap, _in_points(gap)))


def _worst(found: Sequence[Case], goal: Goal) -> Criterion:
    blank = Criterion("Success in any seed, highest", "any seed", goal=f"≤ {100 * goal.worst:g}")

    def over(case: Case) -> float | None:
        return _less(max(case.success, default=None), goal.worst_limit(case.attack))

    case, gap = _farthest(found, over)
    if case is None:
        return blank
    return blank._replace(
        told=points(max(case.success)),
        under=case.name,
        goal=f"≤ {100 * goal.worst_limit(case.attack):g}",
        missed=_missed(gap, _in_points(gap)),
    )


def _honest(found: Sequence[Case]) -> Criterion:
    name = "Honest hospital-rounds named, highest mean"
    blank = Criterion(name, "honest named", goal=f"≤ {100 * MOST_HONEST:g}%")
    case, gap = _farthest(found, lambda case: _less(average(case.honest), MOST_HONEST))
    if case is None:
        return blank
    told, missed = percent(average(case.honest)), _missed(gap, _in_points(gap))
    return blank._replace(told=told, under=case.name, missed=missed)


def _attackers(attacked: Sequence[Case], goal: Goal) -> Criterion:
    """An attack that does not move the model need not be found; the tables say which are not."""
    asked = f"precision ≥ {FOUND_PRECISION:g}, recall ≥ {FOUND_RECALL:g}, or contained"
    blank = Criterion("Attacks whose hospitals are found", "found", goal=asked)
    if not attacked:
        return blank
    count, every = sum(case.found for case in attacked), len(attacked)
    free = sum(not case.found and not contained(case, goal) for case in attacked)
    missed = f"{free} of {every} neither found nor contained" if free else ""
    return blank._replace(told=f"{count} of {every}", missed=missed)


def _farthest(
    found: Sequence[Case], gap: Callable[[Case], float | None]
) -> tuple[Case | None, float]:
    """The case with the widest gap of those that have one, and its gap."""
    gaps = [(value, case) for case in found if (value := gap(case)) is not None]
    if not gaps:
        return None, 0.0
    value, case = max(gaps, key=lambda each: each[0])
    return case, value


def _less(first: float | None, second: float | None) -> float | None:
    return None if first is None or second is None else first - second


def _in_points(gap: float) -> str:
    return f"{100 * gap:.1f} points"


def _missed(gap: float, told: str) -> str:
    """What a gap is told as; nothing for none, nor for one so small that it is written as 0."""
    return told if gap > 0 and any(digit in told for digit in "123456789") else ""


def _pair(
    found: Sequence[float],
    pick: Callable[[Sequence[float]], float],
    write: Callable[[float], str],
) -> str:
    mean = average(found)
    return DASH if mean is None else f"{write(mean)} ({write(pick(found)).lstrip('+')})"
